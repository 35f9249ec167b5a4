// Text from tokens as they come. A token may end inside a UTF-8 character: its bytes wait until the character is whole.
#pragma once

#include <string>

#include "text/vocabulary.h"

namespace jericho {

class Tokenizer;

struct DetokenizerOptions {
  bool at_start = true;  // the sequence begins a text: strip the space the tokenizer put before it, where it puts one
  bool special = false;  // write control tokens by name instead of dropping them
};

// One thread at a time; the tokenizer must outlive it.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options = {});

  // The text that became certain with this token; may be empty, is always whole UTF-8.
  std::string push(TokenId id);
  void push(TokenId id, std::string& out);  // appends it instead

  // What still waits, as U+FFFD. The detokenizer is then ready for a text that continues this one.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  DetokenizerOptions options_;
  bool strip_;           // the next piece of text loses a leading space
  std::string pending_;  // at most 3 bytes between calls
};

}  // namespace jericho
