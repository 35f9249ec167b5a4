// What the sections share, and the order in which they are read. Start at read_tokenizer_json().
#include "text/tokenizer_json.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/tokenizer_json_sections.h"

namespace jericho {
namespace tokenizer_json {

void unsupported(std::string_view section, std::string_view what) {
  throw Error(ErrorKind::kUnsupported, fmt::format("{} {} is not supported", section, what));
}

std::vector<const json*> nodes(const json& root, std::string_view section, std::string_view list) {
  const json* node = json_field(root, section);
  if (node == nullptr) return {};
  std::vector<const json*> open{node};
  std::vector<const json*> result;
  while (!open.empty()) {
    const json* next = open.back();
    open.pop_back();
    if (json_text(*next, "type", "") != "Sequence") {
      result.push_back(next);
      continue;
    }
    const json* children = json_field(*next, list);
    if (children == nullptr || !children->is_array()) {
      throw Error(ErrorKind::kInput, fmt::format("{}: a Sequence without \"{}\"", section, list));
    }
    for (auto child = children->rbegin(); child != children->rend(); ++child) open.push_back(&*child);
  }
  return result;
}

Pattern pattern_of(const json& node, std::string_view section) {
  const json* pattern = json_field(node, "pattern");
  if (pattern == nullptr) throw Error(ErrorKind::kInput, fmt::format("{}: \"pattern\" is missing", section));
  if (json_field(*pattern, "Regex") != nullptr) return {json_text(*pattern, "Regex", ""), true};
  return {json_text(*pattern, "String", ""), false};
}

namespace {

void require_agreement(const Plan& plan) {
  if (plan.byte_level && plan.metaspace) unsupported("tokenizer.json", "with both ByteLevel and U+2581");
  if (plan.byte_level != plan.decodes_byte_level) unsupported("decoder", "that does not undo the pre_tokenizer");
  if (plan.metaspace && !plan.decodes_metaspace) unsupported("decoder", "that does not undo U+2581");
}

std::vector<AddedToken> read_added_tokens(const json& root) {
  std::vector<AddedToken> added;
  const json* list = json_field(root, "added_tokens");
  if (list == nullptr) return added;
  if (!list->is_array()) throw Error(ErrorKind::kInput, "\"added_tokens\" is not a list");
  for (const json& entry : *list) {
    added.push_back(json_added_token(entry));
    added.back().id = static_cast<TokenId>(json_index(entry, "id"));
  }
  return added;
}

}  // namespace
}  // namespace tokenizer_json

TokenizerParts read_tokenizer_json(std::string_view text) {
  using namespace tokenizer_json;
  json root;
  VocabularyText vocabulary = parse_tokenizer_json(text, root);
  if (!root.is_object()) throw Error(ErrorKind::kInput, "not a JSON object");
  Plan plan;
  plan.parts.added = read_added_tokens(root);
  read_normalizer(root, plan);
  read_pre_tokenizer(root, plan);
  read_decoder(root, plan);
  require_agreement(plan);
  read_model(root, std::move(vocabulary), plan);
  read_post_processor(root, plan.parts);
  return std::move(plan.parts);
}

}  // namespace jericho
