// WordPiece (Schuster & Nakajima 2012, "Japanese and Korean voice search"; encoding as in BERT's tokenization.py): a
// word is cut greedily, the longest piece first; a word that cannot be cut whole is unknown. Used by BERT and its kin.
// Differs: a piece that begins a word starts with a space, one that goes on does not; files write "play" and "##ing".
#pragma once

#include <cstddef>
#include <optional>

#include "text/token_model.h"

namespace jericho {

class WordPiece : public TokenModel {
 public:
  // Words of more than `most_characters` are unknown. Without `unknown` such words vanish.
  WordPiece(const Vocabulary& vocabulary, std::optional<TokenId> unknown, std::size_t most_characters);

  // `piece` is one word without white space.
  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override;
  [[nodiscard]] Bytes memory_bytes() const override { return {static_cast<std::int64_t>(sizeof(*this))}; }

 private:
  std::optional<TokenId> unknown_;
  std::size_t most_characters_;
  std::size_t longest_ = 0;  // bytes of a piece
};

}  // namespace jericho
