// Finds tokens that are written out in a text: control tokens such as <|eot_id|>, and user-defined pieces. Leftmost
// match first, the longest of those, the lowest id of equal texts. llama.cpp takes the longest token of the whole text
// first instead, which differs only where two tokens overlap.
#pragma once

#include <bitset>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/vocabulary.h"

namespace jericho {

struct AddedToken {
  TokenId id = -1;
  std::string text{};
  bool control = true;  // not found under SpecialTokens::kAsText
  bool lstrip = false;  // swallows the white space on that side
  bool rstrip = false;
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // matched in the normalized text, after the others
};

class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Match {
    std::size_t begin = 0;  // with the white space it swallows
    std::size_t end = 0;
    TokenId id = -1;
  };
  // The first match at or after `from`. White space before `from` is never swallowed.
  [[nodiscard]] std::optional<Match> next(std::string_view text, std::size_t from, bool with_control) const;
  [[nodiscard]] bool empty() const { return tokens_.empty(); }
  [[nodiscard]] Bytes memory_bytes() const;

 private:
  [[nodiscard]] const AddedToken* longest_at(std::string_view text, std::size_t at, bool with_control) const;

  std::vector<AddedToken> tokens_;  // sorted by text, then id: a trie walked by narrowing a range
  std::bitset<256> first_bytes_;
};

}  // namespace jericho
