// The "post_processor" of a tokenizer.json: what is put before and behind a text. Start at read_post_processor().
#include "text/tokenizer_json_sections.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/special_ids.h"

namespace jericho::tokenizer_json {
namespace {

// Puts tokens around what the text has around it already.
void wrap(TokenizerParts& parts, const std::vector<TokenId>& prefix, const std::vector<TokenId>& suffix) {
  parts.prefix.insert(parts.prefix.begin(), prefix.begin(), prefix.end());
  parts.suffix.insert(parts.suffix.end(), suffix.begin(), suffix.end());
}

// BertProcessing and RobertaProcessing: "cls" and "sep" are a token's name and id each.
void read_cls_and_sep(const json& node, TokenizerParts& parts) {
  const auto id_of = [&](std::string_view key) {
    const json* pair = json_field(node, key);
    if (pair == nullptr || !pair->is_array() || pair->size() != 2 || !(*pair)[1].is_number_integer())
      throw Error(ErrorKind::kInput, fmt::format("post_processor: \"{}\" is not a token and its id", key));
    return checked_token(parts.vocabulary, (*pair)[1].get<Index>(), key);
  };
  wrap(parts, {id_of("cls")}, {id_of("sep")});
}

// TemplateProcessing.single: special tokens around one Sequence.
void read_template(const json& node, TokenizerParts& parts) {
  const json* single = json_field(node, "single");
  if (single == nullptr || !single->is_array()) throw Error(ErrorKind::kInput, "post_processor: \"single\" is no list");
  bool before = true;
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
  for (const json& item : *single) {
    if (json_field(item, "Sequence") != nullptr) {
      before = false;
      continue;
    }
    const json* token = json_field(item, "SpecialToken");
    const json* tokens = json_field(node, "special_tokens");
    if (token == nullptr || tokens == nullptr)
      throw Error(ErrorKind::kInput, "post_processor: an item is neither text nor token");
    const std::string name = json_text(*token, "id", "");
    const json* entry = json_field(*tokens, name);
    const json* ids = entry == nullptr ? nullptr : json_field(*entry, "ids");
    if (ids == nullptr || !ids->is_array()) {
      throw Error(ErrorKind::kInput, fmt::format("post_processor: special token '{}' has no ids", name));
    }
    for (const json& id : *ids) {
      if (!id.is_number_integer()) throw Error(ErrorKind::kInput, "post_processor: an id is no number");
      (before ? prefix : suffix).push_back(checked_token(parts.vocabulary, id.get<Index>(), name));
    }
  }
  if (before) throw Error(ErrorKind::kInput, "post_processor: the template has no place for the text");
  wrap(parts, prefix, suffix);
}

}  // namespace

void read_post_processor(const json& root, TokenizerParts& parts) {
  for (const json* node : nodes(root, "post_processor", "processors")) {
    const std::string type = json_text(*node, "type", "");
    if (type == "TemplateProcessing") {
      read_template(*node, parts);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      read_cls_and_sep(*node, parts);
    } else if (type != "ByteLevel") {  // ByteLevel moves offsets only
      unsupported("post_processor", type);
    }
  }
  if (!parts.prefix.empty()) parts.bos = parts.prefix.front();
  if (!parts.suffix.empty()) parts.eos = parts.suffix.back();
}

}  // namespace jericho::tokenizer_json
