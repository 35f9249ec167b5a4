// Cuts text into the pieces that are encoded one by one: words, numbers, runs of punctuation. The well-known cuts are
// hand scanners, one linear pass each; other patterns of a tokenizer.json run on PCRE2 (regex_split.h). A new
// pre-tokenizer of a model family is one entry of the table in pre_tokenizer.cc.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace jericho {

// The end of the piece that begins at `at` < text.size(). `text` ends where the fragment ends: \s+(?!\S) sees nothing
// beyond.
using Scanner = std::size_t (*)(std::string_view text, std::size_t at);

// One cut: calls emit with each piece of the text, in order.
using EmitPiece = std::function<void(std::string_view piece)>;
class Splitter {
 public:
  virtual ~Splitter() = default;
  virtual void split(std::string_view text, const EmitPiece& emit) const = 0;
};

// A family of models that cut alike.
struct KnownPreTokenizer {
  std::vector<std::string_view> names;     // values of tokenizer.ggml.pre
  std::vector<std::string_view> patterns;  // the same cut as a regular expression in a tokenizer.json
  std::vector<Scanner> scanners;           // each cuts the pieces of the one before
  bool nfc = false;                        // these models normalize to NFC first
  bool ignore_merges = false;              // a piece that is in the vocabulary is taken whole
  bool adds_bos = false;                   // when a GGUF does not say
};

const KnownPreTokenizer* find_pre_tokenizer(std::string_view name);  // nullptr: unknown
Scanner find_scanner_for_pattern(std::string_view pattern);          // nullptr: none
std::string known_pre_tokenizer_names();                             // "gpt-2, llama-bpe, ...", for error messages

// Single digits by themselves, everything between them whole.
std::size_t scan_single_digits(std::string_view text, std::size_t at);
// Runs of digits, and what is between them.
std::size_t scan_digit_runs(std::string_view text, std::size_t at);

// A chain of cuts; the empty chain leaves the text whole. Movable, thread-safe.
class PreTokenizer {
 public:
  void add(Scanner scanner);
  void add(std::unique_ptr<Splitter> splitter) { stages_.push_back(std::move(splitter)); }
  void for_each_piece(std::string_view text, const EmitPiece& emit) const { run(0, text, emit); }
  [[nodiscard]] bool empty() const { return stages_.empty(); }

 private:
  void run(std::size_t stage, std::string_view text, const EmitPiece& emit) const;

  std::vector<std::unique_ptr<Splitter>> stages_;
};

}  // namespace jericho
