// A SentencePiece tokenizer.model: a protobuf of pieces, scores and a few flags (sentencepiece_model.proto of the
// library): unigram and byte-pair models with their normalization. Every length is checked against the bytes that are
// left.
#pragma once

#include <string_view>

#include "text/tokenizer.h"

namespace jericho {

enum class SpacePrefix {
  kAfterSpecialTokens,  // every fragment gets the space: Hugging Face's legacy tokenizers, llama.cpp
  kAtStart,             // only the text as a whole: SentencePiece itself
};

// Error(kInput) for bytes that are no such model, Error(kUnsupported) for a word or char model, and for one that does
// not escape white space or treats it as a suffix.
TokenizerParts read_sentencepiece_model(std::string_view bytes, SpacePrefix prefix);

// Whether `bytes` may be such a model, rather than tiktoken's text.
bool looks_like_sentencepiece_model(std::string_view bytes);

}  // namespace jericho
