// Writes a tokenizer.json: the text of a Hugging Face fast tokenizer that does what a GGUF's keys say.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace jericho {

class Metadata;

// What the writers share: `parts` as the text area reads `metadata`, and the pieces as the file spells them, without
// the padding at the end.
struct GgufPieces {
  const Metadata& metadata;
  const TokenizerParts& parts;
  std::vector<std::string_view> tokens{};
};

// Of model "gpt2" and "bert". Error(kUnsupported) names a pre-tokenizer whose patterns are not known.
std::string byte_level_json(const GgufPieces& pieces);
std::string word_piece_json(const GgufPieces& pieces);

// A text as JSON. Error(kInput) names token `id` when it is not UTF-8.
std::string quoted_token(std::string_view token, std::size_t id);

}  // namespace jericho
