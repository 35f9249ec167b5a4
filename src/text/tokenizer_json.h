// A tokenizer.json of Hugging Face's tokenizers library. What is not known here is an Error(kUnsupported) that names
// it, never ignored. Start at read_tokenizer_json(); each section of the file has a file of its own
// (tokenizer_json_sections.h).
#pragma once

#include <string_view>

#include "text/tokenizer.h"

namespace jericho {

// BOS and EOS are what the post_processor puts around a text; bos() is its first token. end_of_generation is left
// empty.
TokenizerParts read_tokenizer_json(std::string_view text);

}  // namespace jericho
