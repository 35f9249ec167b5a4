// GPT-2's two files: vocab.json, {"piece": id}, and merges.txt, one rule per line in order of rank.
#pragma once

#include <string_view>

#include "text/hf_settings.h"
#include "text/known_pre_tokenizers.h"
#include "text/tokenizer.h"
#include "text/vocabulary_json.h"

namespace jericho {

// The pre-tokenizer follows from the tokenizer_class of `settings`: GPT-2's, or Qwen2's. Error(kUnsupported) for other
// classes.
const KnownPreTokenizer& pre_tokenizer_of_class(std::string_view tokenizer_class);
void read_merges(std::string_view merges_txt, VocabularyText& into);
TokenizerParts read_vocab_merges(std::string_view vocab_json, std::string_view merges_txt,
                                 const HuggingFaceSettings& settings);

}  // namespace jericho
