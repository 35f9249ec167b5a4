// A SentencePiece tokenizer.model: a protobuf of pieces, scores and a few flags (sentencepiece_model.proto of the
// library). Only what byte-pair models need is read; every length is checked against the bytes that are left.
#pragma once

#include <string_view>

#include "text/tokenizer.h"

namespace jericho {

enum class SpacePrefix {
  kAfterSpecialTokens,  // every fragment gets the space: Hugging Face's legacy tokenizers, llama.cpp
  kAtStart,             // only the text as a whole: SentencePiece itself
};

// Error(kInput) for bytes that are no such model, Error(kUnsupported) for a unigram, word or char model and for a
// normalizer other than identity.
TokenizerParts read_sentencepiece_model(std::string_view bytes, SpacePrefix prefix);

// Whether `bytes` may be such a model, rather than tiktoken's text.
bool looks_like_sentencepiece_model(std::string_view bytes);

}  // namespace jericho
