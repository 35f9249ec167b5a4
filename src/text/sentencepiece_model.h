// A SentencePiece tokenizer.model as a tokenizer: unigram and byte-pair models with their normalization. The file
// itself is read in sentencepiece_proto.h.
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
