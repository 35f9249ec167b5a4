// Which tokens begin and end a text: shared by the loaders.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace jericho {

// An id a file names, checked against the vocabulary. Error(kInput) names `what` when it is outside.
TokenId checked_token(const Vocabulary& vocabulary, Index id, std::string_view what);

// Adds control tokens whose name says that generation ends there: <|eot_id|>, <|im_end|>, </s>, ... For models whose
// files list no end of turn. The names are those of llama.cpp's llama-vocab.cpp.
void add_end_names(TokenizerParts& parts);

// Puts BOS before and EOS behind the text where asked for and known.
void set_affixes(TokenizerParts& parts, bool add_bos, bool add_eos);

// Control, unknown and user-defined pieces are matched in text before it is encoded.
std::vector<AddedToken> added_tokens_by_kind(const Vocabulary& vocabulary);

}  // namespace jericho
