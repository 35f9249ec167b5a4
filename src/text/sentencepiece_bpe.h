// SentencePiece's byte-pair encoding: merges the neighbours whose concatenation is the piece with the highest score
// (Kudo & Richardson 2018, arXiv:1808.06226; the library's bpe_model.cc). Used by Llama 1 and 2, Mistral, Phi-3, Gemma.
// Differs: pieces and text hold plain spaces, not U+2581, and words are encoded one by one where no piece crosses
// words.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "text/byte_tokens.h"
#include "text/token_model.h"

namespace jericho {

class SentencePieceBpe : public TokenModel {
 public:
  // One score per piece of `vocabulary`, which is indexed. `unknown` stands for characters without piece and byte
  // tokens.
  SentencePieceBpe(const Vocabulary& vocabulary, const std::vector<float>& scores, std::optional<TokenId> unknown);

  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override;
  [[nodiscard]] Bytes memory_bytes() const override;

 private:
  void encode_word(const Vocabulary& vocabulary, std::string_view word, std::size_t start, MergeScratch& scratch,
                   std::vector<TokenId>& out) const;

  std::vector<std::uint32_t> ranks_;  // the score as an integer that falls as the score rises
  ByteTokens bytes_;
  bool by_words_;
};

}  // namespace jericho
