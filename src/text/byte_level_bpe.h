// Byte-level byte-pair encoding (Radford et al. 2019, "Language models are unsupervised multitask learners",
// section 2.2): the symbols are the 256 bytes, and the neighbours with the lowest merge rank are merged first. Model
// files spell bytes as printable characters (space is U+0120); here pieces are the bytes themselves.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/byte_tokens.h"
#include "text/piece_spelling.h"
#include "text/token_model.h"

namespace jericho {

// The bytes that a text in GPT-2's printable alphabet stands for; nothing when a character is outside the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);
std::string to_byte_alphabet(std::string_view bytes);

// Merge rules by the ids of their two sides, 16 bytes each in an open-addressing table.
class MergeTable {
 public:
  // Rules in order of rank. Of equal pairs the first counts.
  explicit MergeTable(Index rules);
  void add(TokenId left, TokenId right, TokenId result);

  [[nodiscard]] std::optional<Merge> find(TokenId left, TokenId right) const;
  [[nodiscard]] Bytes memory_bytes() const { return {static_cast<std::int64_t>(slots_.capacity() * sizeof(Slot))}; }

 private:
  struct Slot {
    TokenId left = -1;
    TokenId right = -1;
    Merge merge{};
  };
  [[nodiscard]] std::size_t slot_of(TokenId left, TokenId right) const;

  std::vector<Slot> slots_;  // at most two thirds full
  std::uint32_t next_rank_ = 0;
};

// The two sides of "a b", split at the first space after position 0. Error(kInput) when there is none.
std::pair<std::string_view, std::string_view> split_merge_rule(std::string_view rule);

// Reads "a b" rules, or pairs, whose sides and result are pieces in the spelling of the file. Error(kInput) names a
// rule that does not fit the vocabulary.
class MergeReader {
 public:
  MergeReader(const Vocabulary& vocabulary, PieceSpelling spelling, Index rules)
      : vocabulary_(vocabulary), spelling_(std::move(spelling)), table_(rules) {}
  void add(std::string_view rule);
  void add(std::string_view left, std::string_view right);
  [[nodiscard]] MergeTable take() { return std::move(table_); }

 private:
  const Vocabulary& vocabulary_;
  PieceSpelling spelling_;
  MergeTable table_;
};

class ByteLevelBpe : public TokenModel {
 public:
  // kWholePieces: a piece of text that is in the vocabulary is taken as it is (ignore_merges, Llama 3).
  enum class Lookup { kMergesOnly, kWholePieces };
  ByteLevelBpe(const Vocabulary& vocabulary, MergeTable merges, Lookup lookup, std::optional<TokenId> unknown);

  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override;
  [[nodiscard]] Bytes memory_bytes() const override;

 private:
  MergeTable merges_;
  std::array<TokenId, 256> byte_ids_;
  std::optional<TokenId> unknown_;
  Lookup lookup_;
};

// Byte-pair encoding over characters with merge rules: what a tokenizer.json makes of a SentencePiece model. Characters
// without a piece become byte tokens, which take part in no merge, or the unknown token.
class CharacterBpe : public TokenModel {
 public:
  // kEndInSpace: a space behind the last character of a piece belongs to that character's symbol.
  enum class Words { kOpen, kEndInSpace };
  CharacterBpe(const Vocabulary& vocabulary, MergeTable merges, ByteLevelBpe::Lookup lookup,
               std::optional<TokenId> unknown, UnknownRuns runs, Words words = Words::kOpen);

  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override;
  [[nodiscard]] Bytes memory_bytes() const override;

 private:
  MergeTable merges_;
  ByteTokens bytes_;
  ByteLevelBpe::Lookup lookup_;
  Words words_;
  bool by_words_;
};

}  // namespace jericho
