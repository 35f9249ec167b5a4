// The "pre_tokenizer" of a tokenizer.json: one function per type of node. Start at read_pre_tokenizer().
#include "text/tokenizer_json_sections.h"

#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/known_pre_tokenizers.h"
#include "text/regex_split.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {
namespace {

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

}  // namespace

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

}  // namespace jericho::tokenizer_json
