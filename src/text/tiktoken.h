// tiktoken's vocabulary text (openai/tiktoken, load.py): a line per piece, base64 of its bytes, a space, its rank.
// Llama 3's tokenizer.model is one. The rank is the id, and of all neighbours the pair whose concatenation has the
// lowest rank is merged: there are no merge rules to store.
#pragma once

#include <string_view>

#include "text/hf_settings.h"
#include "text/tokenizer.h"

namespace jericho {

// The number of pieces tells GPT-2, cl100k, o200k, Llama 3 and Llama 4 apart: how they cut text, and their special
// tokens where `settings` has none. Any other number is cut as Llama 3 cuts, with a note.
TokenizerParts read_tiktoken(std::string_view text, const HuggingFaceSettings& settings);

}  // namespace jericho
