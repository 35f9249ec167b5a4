// The pieces of a tokenizer by id and by text, held in one string pool and one open-addressing index: a vocabulary of
// 150,000 pieces takes about 5 MB, where a map of strings would take 20.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"

namespace jericho {

using TokenId = std::int32_t;

// The numbers are those of SentencePiece's ModelProto and of GGUF's tokenizer.ggml.token_type.
enum class TokenKind : std::uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // has no text of its own: <s>, <|eot_id|>
  kUserDefined = 4,  // matched in the text before anything else
  kUnused = 5,       // never emitted
  kByte = 6,         // the piece is the byte itself; model files spell it <0x0A>
};

// Pieces are bytes as they appear in text: byte-level pieces are unmapped, SentencePiece's U+2581 is a space.
// Compatible with threads: const members may be called from many.
class Vocabulary {
 public:
  // Ids count up from 0. Throws Error(kInput) above 2^24 pieces or 2^31 bytes.
  TokenId add(std::string_view text, TokenKind kind);
  void set_kind(TokenId id, TokenKind kind) { kinds_[static_cast<std::size_t>(id)] = kind; }

  // Makes find() work; call when all is added. Of equal texts, normal pieces win over others, then the lowest id.
  void build_index();

  [[nodiscard]] Index size() const { return static_cast<Index>(kinds_.size()); }
  [[nodiscard]] bool contains(TokenId id) const { return id >= 0 && id < size(); }
  [[nodiscard]] std::string_view text(TokenId id) const {
    const auto i = static_cast<std::size_t>(id);
    return std::string_view(pool_).substr(ends_[i], ends_[i + 1] - ends_[i]);
  }
  [[nodiscard]] TokenKind kind(TokenId id) const { return kinds_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] std::optional<TokenId> find(std::string_view text) const;
  [[nodiscard]] Bytes memory_bytes() const;

 private:
  void insert(TokenId id);

  std::string pool_;
  std::vector<std::uint32_t> ends_{0};  // piece i is pool_[ends_[i], ends_[i + 1])
  std::vector<TokenKind> kinds_;
  std::vector<TokenId> slots_;  // linear probing, -1 empty, a power of two at most two thirds full
};

}  // namespace jericho
