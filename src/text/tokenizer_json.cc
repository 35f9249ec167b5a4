// One function per section of a tokenizer.json, gathered in a Plan. Start at read_tokenizer_json().
#include "text/tokenizer_json.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/hf_settings.h"
#include "text/known_pre_tokenizers.h"
#include "text/regex_split.h"
#include "text/special_ids.h"
#include "text/unicode.h"
#include "text/vocabulary_json.h"

namespace jericho {
namespace {

using nlohmann::json;
using Step = NormalizerStep;

[[noreturn]] void unsupported(std::string_view section, std::string_view what) {
  throw Error(ErrorKind::kUnsupported, fmt::format("{} {} is not supported", section, what));
}

// What the sections together say.
struct Plan {
  bool byte_level = false;  // pieces are in GPT-2's printable alphabet
  bool metaspace = false;   // pieces write U+2581 for a space; text and pieces hold plain spaces from here on
  bool decodes_metaspace = false;
  bool decodes_byte_level = false;
  bool byte_fallback = false;
  TokenizerParts parts{};
};

// The nodes of a section: none, one, or those of a Sequence.
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

struct Pattern {
  std::string text{};
  bool is_regex = false;
};

Pattern pattern_of(const json& node, std::string_view section) {
  const json* pattern = json_field(node, "pattern");
  if (pattern == nullptr) throw Error(ErrorKind::kInput, fmt::format("{}: \"pattern\" is missing", section));
  if (json_field(*pattern, "Regex") != nullptr) return {json_text(*pattern, "Regex", ""), true};
  return {json_text(*pattern, "String", ""), false};
}

void read_normalizer(const json& root, Plan& plan) {
  const auto section = nodes(root, "normalizer", "normalizers");
  const auto is_metaspace = [](const json& node) {
    if (json_text(node, "type", "") != "Replace") return false;
    const Pattern pattern = pattern_of(node, "normalizer");
    return !pattern.is_regex && pattern.text == " " && json_text(node, "content", "") == kMetaspace;
  };
  for (const json* node : section) plan.metaspace = plan.metaspace || is_metaspace(*node);
  const auto plain = [&](const std::string& text) {
    return plan.metaspace ? replace_all(text, kMetaspace, " ") : text;
  };
  for (const json* node : section) {
    const std::string type = json_text(*node, "type", "");
    if (type == "NFC") {
      plan.parts.normalizer.add(to_nfc);
    } else if (is_metaspace(*node)) {
      plan.parts.normalizer.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
    } else if (type == "Prepend") {
      plan.parts.normalizer.add({.kind = Step::Kind::kPrepend, .to = plain(json_text(*node, "prepend", ""))});
    } else if (type == "Replace") {
      const Pattern pattern = pattern_of(*node, "normalizer");
      if (pattern.is_regex) unsupported("normalizer", "Replace with a Regex");
      if (pattern.text.empty()) throw Error(ErrorKind::kInput, "normalizer: Replace of nothing");
      plan.parts.normalizer.add(
          {.kind = Step::Kind::kReplace, .from = plain(pattern.text), .to = plain(json_text(*node, "content", ""))});
    } else {
      unsupported("normalizer", type);
    }
  }
}

SplitOptions split_options(const json& node) {
  const std::string name = json_text(node, "behavior", "");
  SplitOptions options{.invert = json_flag(node, "invert", false)};
  constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [known, behavior] : kBehaviors) {
    if (name != known) continue;
    options.behavior = behavior;
    return options;
  }
  unsupported("pre_tokenizer", fmt::format("Split with behavior '{}'", name));
}

void read_split(const json& node, Plan& plan) {
  const Pattern pattern = pattern_of(node, "pre_tokenizer");
  const SplitOptions options = split_options(node);
  PreTokenizer& cut = plan.parts.pre_tokenizer;
  if (!pattern.is_regex) {
    // Where the normalizer has turned every space into U+2581, a split at spaces finds none.
    if (plan.metaspace && pattern.text == " ") return;
    const std::string text = plan.metaspace ? replace_all(pattern.text, kMetaspace, " ") : pattern.text;
    return cut.add(make_literal_splitter(text, options));
  }
  if (plan.metaspace) unsupported("pre_tokenizer", "Split with a Regex over text with U+2581");
  const KnownCut* known = find_cut_for_pattern(pattern.text);
  const bool isolates = options.behavior == SplitBehavior::kIsolated;
  // Where a pattern matches every character, there is nothing between the matches to remove.
  const bool keeps_matches = options.behavior == SplitBehavior::kRemoved && options.invert;
  if (known != nullptr && (isolates || (keeps_matches && known->covers == KnownCut::Covers::kText)))
    return cut.add(known->scanner);
  cut.add(make_regex_splitter(pattern.text, options));
}

void read_byte_level_cut(const json& node, Plan& plan) {
  plan.byte_level = true;
  if (json_flag(node, "add_prefix_space", true)) {
    if (!plan.parts.pre_tokenizer.empty())
      unsupported("pre_tokenizer", "ByteLevel with add_prefix_space after a split");
    plan.parts.before_pieces.add({.kind = Step::Kind::kPrepend, .to = " ", .prepend = Step::Prepend::kUnlessThere});
  }
  if (json_flag(node, "use_regex", true)) plan.parts.pre_tokenizer.add(scan_gpt2);
}

void read_metaspace_cut(const json& node, Plan& plan) {
  if (json_text(node, "replacement", kMetaspace) != kMetaspace)
    unsupported("pre_tokenizer", "Metaspace with another replacement");
  const bool prefix = json_flag(node, "add_prefix_space", true);  // files before tokenizers 0.15
  const std::string scheme = json_text(node, "prepend_scheme", prefix ? "always" : "never");
  if (!plan.parts.pre_tokenizer.empty()) unsupported("pre_tokenizer", "Metaspace after a split");
  plan.metaspace = true;
  plan.parts.before_pieces.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
  if (scheme == "always" || scheme == "first") {
    plan.parts.before_pieces.add(
        {.kind = Step::Kind::kPrepend,
         .to = " ",
         .prepend = scheme == "first" ? Step::Prepend::kAtStartUnlessThere : Step::Prepend::kUnlessThere});
  } else if (scheme != "never") {
    unsupported("pre_tokenizer", fmt::format("Metaspace with prepend_scheme '{}'", scheme));
  }
  if (json_flag(node, "split", true)) {
    plan.parts.pre_tokenizer.add(make_literal_splitter(" ", {.behavior = SplitBehavior::kMergedWithNext}));
  }
}

void read_pre_tokenizer(const json& root, Plan& plan) {
  for (const json* node : nodes(root, "pre_tokenizer", "pretokenizers")) {
    const std::string type = json_text(*node, "type", "");
    if (plan.byte_level) unsupported("pre_tokenizer", fmt::format("{} after ByteLevel", type));
    if (type == "ByteLevel") {
      read_byte_level_cut(*node, plan);
    } else if (type == "Split") {
      read_split(*node, plan);
    } else if (type == "Digits") {
      plan.parts.pre_tokenizer.add(json_flag(*node, "individual_digits", false) ? scan_single_digits : scan_digit_runs);
    } else if (type == "Metaspace") {
      read_metaspace_cut(*node, plan);
    } else {
      unsupported("pre_tokenizer", type);
    }
  }
}

void read_decoder(const json& root, Plan& plan) {
  const auto section = nodes(root, "decoder", "decoders");
  if (section.empty()) unsupported("decoder", "null (pieces joined by spaces)");
  for (const json* node : section) {
    const std::string type = json_text(*node, "type", "");
    if (type == "ByteLevel") {
      plan.decodes_byte_level = true;
    } else if (type == "Metaspace") {
      plan.decodes_metaspace = true;
      const std::string scheme =
          json_text(*node, "prepend_scheme", json_flag(*node, "add_prefix_space", true) ? "always" : "never");
      plan.parts.strips_leading_space = scheme != "never";
    } else if (type == "Replace") {
      const Pattern pattern = pattern_of(*node, "decoder");
      if (pattern.is_regex || pattern.text != kMetaspace || json_text(*node, "content", "") != " ") {
        unsupported("decoder", "Replace other than of U+2581 by a space");
      }
      plan.decodes_metaspace = true;
    } else if (type == "Strip") {
      if (json_text(*node, "content", "") != " " || json_index(*node, "start") != 1 || json_index(*node, "stop") != 0) {
        unsupported("decoder", "Strip other than of one leading space");
      }
      plan.parts.strips_leading_space = true;
    } else if (type != "ByteFallback" && type != "Fuse") {
      unsupported("decoder", type);
    }
  }
}

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

// TemplateProcessing.single: special tokens around one Sequence.
void read_template(const json& node, TokenizerParts& parts) {
  const json* single = json_field(node, "single");
  if (single == nullptr || !single->is_array()) throw Error(ErrorKind::kInput, "post_processor: \"single\" is no list");
  bool before = true;
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
      (before ? parts.prefix : parts.suffix).push_back(checked_token(parts.vocabulary, id.get<Index>(), name));
    }
  }
  if (before) throw Error(ErrorKind::kInput, "post_processor: the template has no place for the text");
}

void read_post_processor(const json& root, TokenizerParts& parts) {
  for (const json* node : nodes(root, "post_processor", "processors")) {
    const std::string type = json_text(*node, "type", "");
    if (type == "TemplateProcessing") {
      read_template(*node, parts);
    } else if (type != "ByteLevel") {  // ByteLevel moves offsets only
      unsupported("post_processor", type);
    }
  }
  if (!parts.prefix.empty()) parts.bos = parts.prefix.front();
  if (!parts.suffix.empty()) parts.eos = parts.suffix.back();
}

}  // namespace

TokenizerParts read_tokenizer_json(std::string_view text) {
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
