// The tokenizer within a GGUF: the keys tokenizer.ggml.* (gguf-py's constants.py names them), read as llama.cpp reads
// them.
#pragma once

#include "text/tokenizer.h"

namespace jericho {

class Metadata;

// Frees the token, score and merge arrays of `metadata` as soon as they are read. Error(kUnsupported) names a model
// kind or a pre-tokenizer that is not known; Error(kInput) a file without tokenizer.
TokenizerParts read_gguf_tokenizer(Metadata& metadata);

}  // namespace jericho
