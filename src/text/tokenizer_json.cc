// What the sections share, the model, and the order in which they are read. Start at read_tokenizer_json().
#include "text/tokenizer_json.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/hf_settings.h"
#include "text/tokenizer_json_sections.h"
#include "text/vocabulary_json.h"

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

void read_model(const json& root, VocabularyText text, Plan& plan) {
  const json* node = json_field(root, "model");
  if (node == nullptr) throw Error(ErrorKind::kInput, "\"model\" is missing");
  const std::string type = json_text(*node, "type", "BPE");  // absent in old files, which knew no other
  if (type != "BPE") unsupported("model", type);
  if (const json* dropout = json_field(*node, "dropout"); dropout != nullptr && *dropout != 0.0)
    unsupported("model", "dropout");
  if (!json_text(*node, "continuing_subword_prefix", "").empty()) unsupported("model", "continuing_subword_prefix");
  if (!json_text(*node, "end_of_word_suffix", "").empty()) unsupported("model", "end_of_word_suffix");
  const bool byte_fallback = json_flag(*node, "byte_fallback", false);

  TokenizerParts& parts = plan.parts;
  const MergeSpelling spelling = plan.byte_level                            ? MergeSpelling::kByteAlphabet
                                 : plan.metaspace || plan.decodes_metaspace ? MergeSpelling::kMetaspace
                                                                            : MergeSpelling::kPlain;
  parts.vocabulary = text.take_vocabulary(parts.added, spelling, byte_fallback);
  if (const std::string unk = json_text(*node, "unk_token", ""); !unk.empty()) {
    parts.unk = parts.vocabulary.find(unk);
    if (!parts.unk) throw Error(ErrorKind::kInput, fmt::format("unk_token '{}' is not in the vocabulary", unk));
  }
  const auto lookup =
      json_flag(*node, "ignore_merges", false) ? ByteLevelBpe::Lookup::kWholePieces : ByteLevelBpe::Lookup::kMergesOnly;
  MergeTable merges = text.take_merges(parts.vocabulary, spelling);
  if (plan.byte_level) {
    parts.model = std::make_unique<ByteLevelBpe>(parts.vocabulary, std::move(merges), lookup, parts.unk);
  } else {
    const auto runs = json_flag(*node, "fuse_unk", false) ? UnknownRuns::kFused : UnknownRuns::kEach;
    parts.model = std::make_unique<CharacterBpe>(parts.vocabulary, std::move(merges), lookup, parts.unk, runs);
  }
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
