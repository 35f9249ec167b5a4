// Byte fallback: the tokens <0x00> to <0xFF> that stand for text no other piece covers.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace jericho {

// The byte that a piece spelled <0x0A> names.
std::optional<char> parse_byte_piece(std::string_view piece);

enum class UnknownRuns { kFused, kEach };  // neighbours without piece: one unknown token, or one each

// What a character without a piece becomes.
class ByteTokens {
 public:
  // Takes the vocabulary's pieces of kind kByte. `unknown` is used when a byte has none.
  ByteTokens(const Vocabulary& vocabulary, std::optional<TokenId> unknown, UnknownRuns runs);

  [[nodiscard]] TokenId of(char byte) const { return ids_[static_cast<unsigned char>(byte)]; }  // -1: none
  [[nodiscard]] bool complete(std::string_view bytes) const;
  // Appends the byte tokens of `bytes`, or the unknown token unless the last one of `out` at or after `start` is that
  // already.
  void append(std::string_view bytes, std::size_t start, std::vector<TokenId>& out) const;

 private:
  std::array<TokenId, 256> ids_;
  std::optional<TokenId> unknown_;
  UnknownRuns runs_;
};

}  // namespace jericho
