// SentencePiece's precompiled normalization table: a double-array trie from sequences of characters to what replaces
// them (Aoe 1989, "An efficient digital search algorithm by using a double-array structure", IEEE TSE 15(9); bit layout
// of the library darts-clone, which writes it). Layout of the blob: u32 size of the trie in bytes, the trie as u32
// units, then replacements, each ended by a zero byte; little-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace jericho {

// Immutable, thread-safe.
class Charsmap {
 public:
  // Error(kInput) for a blob whose sizes do not fit or whose replacements are not ended. Links out of the trie are no
  // matches.
  explicit Charsmap(std::string_view blob);

  // SentencePiece's normalizer: at every place the longest key is replaced, bytes that are not UTF-8 become U+FFFD one
  // by one.
  [[nodiscard]] std::string apply_longest(std::string_view text) const;

  // The Precompiled normalizer of Hugging Face's tokenizers: a grapheme cluster below 6 bytes that begins with a key
  // becomes what replaces its shortest key, dropping the rest; in other clusters this is done per code point. Bytes
  // that are not UTF-8 stay.
  [[nodiscard]] std::string apply_by_grapheme(std::string_view text) const;

  [[nodiscard]] Bytes memory_bytes() const;

 private:
  struct Match {
    std::size_t size = 0;  // bytes of the key
    std::string_view replacement{};
  };
  enum class Want { kLongest, kShortest };
  [[nodiscard]] std::optional<Match> match(std::string_view text, Want want) const;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;
};

}  // namespace jericho
