// The sections of a tokenizer.json, one function and one file each. Internal to the reader of that file: start at
// read_tokenizer_json() in tokenizer_json.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "text/tokenizer.h"
#include "text/vocabulary_json.h"

namespace jericho::tokenizer_json {

using nlohmann::json;
using Step = NormalizerStep;

// What the sections together say.
struct Plan {
  bool byte_level = false;  // pieces are in GPT-2's printable alphabet
  bool metaspace = false;   // pieces write U+2581 for a space; text and pieces hold plain spaces from here on
  bool decodes_metaspace = false;
  bool decodes_byte_level = false;
  bool decodes_word_piece = false;
  std::string decodes_word_end{};  // the suffix that stands for a space: "</w>"
  TokenizerParts parts{};
};

[[noreturn]] void unsupported(std::string_view section, std::string_view what);

// The nodes of a section: none, one, or those of a Sequence.
std::vector<const json*> nodes(const json& root, std::string_view section, std::string_view list);

struct Pattern {
  std::string text{};
  bool is_regex = false;
};
Pattern pattern_of(const json& node, std::string_view section);

void read_normalizer(const json& root, Plan& plan);
void read_pre_tokenizer(const json& root, Plan& plan);
void read_model(const json& root, VocabularyText text, Plan& plan);
void read_decoder(const json& root, Plan& plan);
void read_post_processor(const json& root, TokenizerParts& parts);

}  // namespace jericho::tokenizer_json
