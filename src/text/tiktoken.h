// tiktoken's vocabulary text (openai/tiktoken, load.py): a line per piece, base64 of its bytes, a space, its rank.
// Llama 3's tokenizer.model is one. The rank is the id, and of all neighbours the pair whose concatenation has the
// lowest rank is merged: there are no merge rules to store.
#pragma once

#include <string_view>

#include "text/hf_settings.h"
#include "text/tokenizer.h"

namespace jericho {

// Special tokens are those of `settings`, else the 256 of Llama 3 from 128,000 on when there are as many pieces.
TokenizerParts read_tiktoken(std::string_view text, const HuggingFaceSettings& settings);

}  // namespace jericho
