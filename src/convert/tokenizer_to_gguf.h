// The tokenizer of a Hugging Face directory as the keys tokenizer.* of a GGUF. Key names are those of gguf-py's
// constants.py; what they mean to readers is in text/gguf_tokenizer.h. Details: docs/formats.md.
#pragma once

#include <string>
#include <vector>

#include "base/index.h"

namespace jericho {

class GgufWriter;
class ModelFile;

// Reads tokenizer.json, tokenizer.model (SentencePiece or tiktoken) or vocab.json with merges.txt, and the settings
// beside them. Ids without piece up to `vocab_size`, the rows of the embedding, become unused tokens [PADn].
// Returns notes: what a GGUF cannot say, and what therefore differs.
// Error(kInput) when there are more tokens than rows; Error(kUnsupported) names what no GGUF can express.
std::vector<std::string> write_gguf_tokenizer(const ModelFile& directory, Index vocab_size, GgufWriter& out);

}  // namespace jericho
