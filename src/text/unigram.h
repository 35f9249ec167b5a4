// The unigram language model (Kudo 2018, arXiv:1804.10959, section 3.2): of all ways to cut a text into pieces, the one
// with the largest sum of log probabilities, by Viterbi's algorithm over the positions of the text. Used by T5, XLM-R,
// mBART and others trained with SentencePiece.
// Differs: pieces and text hold plain spaces, not U+2581, and words are encoded one by one where no piece crosses
// words. As in SentencePiece, a character without a piece of its own may be unknown at a price of 10 below the least
// score, and of equal sums the one whose last piece begins first is taken.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "text/byte_tokens.h"
#include "text/token_model.h"

namespace jericho {

class Unigram : public TokenModel {
 public:
  // One score per piece of `vocabulary`, which is indexed. `unknown` stands for runs of characters that have neither
  // piece nor byte tokens; without it they vanish.
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, std::optional<TokenId> unknown);

  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override;
  [[nodiscard]] Bytes memory_bytes() const override;

 private:
  void encode_word(const Vocabulary& vocabulary, std::string_view word, std::size_t start, MergeScratch& scratch,
                   std::vector<TokenId>& out) const;

  std::vector<double> scores_;
  std::vector<TokenId> sorted_;                  // pieces that text may become, by their text
  std::array<std::uint32_t, 257> first_byte_{};  // where in sorted_ those of each first byte begin
  double unknown_score_ = 0.0;
  ByteTokens bytes_;
  bool by_words_;
};

}  // namespace jericho
