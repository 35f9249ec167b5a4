// The "pre_tokenizer" of a tokenizer.json: one function per type of node. Start at read_pre_tokenizer().
#include "text/tokenizer_json_sections.h"

#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/known_pre_tokenizers.h"
#include "text/piece_stages.h"
#include "text/regex_split.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {
namespace {

SplitOptions split_options(const json& node, std::string_view fallback) {
  const std::string name = json_text(node, "behavior", fallback);
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
  unsupported("pre_tokenizer", fmt::format("the split behavior '{}'", name));
}

// Behind ByteLevel, pieces are cut in their spelling in the byte alphabet.
void add_cut(Plan& plan, std::unique_ptr<Splitter> cut) {
  plan.parts.pre_tokenizer.add(plan.byte_level ? make_byte_alphabet_stage(std::move(cut)) : std::move(cut));
}
void add_cut(Plan& plan, Scanner scanner) { add_cut(plan, make_scanner_splitter(scanner)); }

void read_split(const json& node, Plan& plan) {
  const Pattern pattern = pattern_of(node, "pre_tokenizer");
  const SplitOptions options = split_options(node, "");
  if (!pattern.is_regex) {
    // Where the normalizer has turned every space into U+2581, a split at spaces finds none.
    if (plan.metaspace && pattern.text == " ") return;
    const std::string text = plan.metaspace ? replace_all(pattern.text, kMetaspace, " ") : pattern.text;
    return add_cut(plan, make_literal_splitter(text, options));
  }
  if (plan.metaspace) unsupported("pre_tokenizer", "Split with a Regex over text with U+2581");
  const KnownCut* known = find_cut_for_pattern(pattern.text);
  const bool isolates = options.behavior == SplitBehavior::kIsolated;
  // Where a pattern matches every character, there is nothing between the matches to remove.
  const bool keeps_matches = options.behavior == SplitBehavior::kRemoved && options.invert;
  if (known != nullptr && (isolates || (keeps_matches && known->covers == KnownCut::Covers::kText)))
    return add_cut(plan, known->scanner);
  add_cut(plan, make_regex_splitter(pattern.text, options));
}

// A space before every piece of a cut, where there is none.
std::unique_ptr<Splitter> make_space_stage() {
  return make_rewriting_stage([](std::string_view piece) {
    std::string text = piece.starts_with(' ') ? "" : " ";
    text += piece;
    return text;
  });
}

void read_byte_level_cut(const json& node, Plan& plan) {
  plan.byte_level = true;
  if (json_flag(node, "add_prefix_space", true)) {
    plan.parts.pre_tokenizer.add(make_space_stage());
  }
  if (json_flag(node, "use_regex", true)) plan.parts.pre_tokenizer.add(scan_gpt2);
}

void read_metaspace_cut(const json& node, Plan& plan) {
  if (json_text(node, "replacement", kMetaspace) != kMetaspace)
    unsupported("pre_tokenizer", "Metaspace with another replacement");
  const bool prefix = json_flag(node, "add_prefix_space", true);  // files before tokenizers 0.15
  const std::string scheme = json_text(node, "prepend_scheme", prefix ? "always" : "never");
  const bool behind_split = !plan.parts.pre_tokenizer.empty();
  const auto replace = [](std::string_view text) { return replace_all(text, kMetaspace, " "); };
  plan.metaspace = true;
  if (scheme == "always" || scheme == "never") {
    plan.parts.pre_tokenizer.add(make_rewriting_stage(replace));
    if (scheme == "always") plan.parts.pre_tokenizer.add(make_space_stage());
  } else if (scheme == "first") {
    if (behind_split) unsupported("pre_tokenizer", "Metaspace with prepend_scheme 'first' behind a split");
    plan.parts.before_pieces.add(replace);
    plan.parts.before_pieces.add(
        {.kind = Step::Kind::kPrepend, .to = " ", .prepend = Step::Prepend::kAtStartUnlessThere});
  } else {
    unsupported("pre_tokenizer", fmt::format("Metaspace with prepend_scheme '{}'", scheme));
  }
  if (json_flag(node, "split", true)) {
    plan.parts.pre_tokenizer.add(make_literal_splitter(" ", {.behavior = SplitBehavior::kMergedWithNext}));
  }
}

}  // namespace

void read_pre_tokenizer(const json& root, Plan& plan) {
  constexpr SplitOptions kRemoved{.behavior = SplitBehavior::kRemoved};
  for (const json* node : nodes(root, "pre_tokenizer", "pretokenizers")) {
    const std::string type = json_text(*node, "type", "");
    const auto refuse_metaspace = [&] {
      if (plan.metaspace) unsupported("pre_tokenizer", fmt::format("{} over text with U+2581", type));
    };
    if (type == "ByteLevel") {
      if (plan.byte_level) unsupported("pre_tokenizer", "ByteLevel after ByteLevel");
      read_byte_level_cut(*node, plan);
    } else if (type == "Split") {
      read_split(*node, plan);
    } else if (type == "Digits") {
      add_cut(plan, json_flag(*node, "individual_digits", false) ? scan_single_digits : scan_digit_runs);
    } else if (type == "Metaspace") {
      read_metaspace_cut(*node, plan);
    } else if (type == "Punctuation") {
      add_cut(plan, make_class_splitter(is_bert_punctuation, split_options(*node, "Isolated")));
    } else if (type == "WhitespaceSplit" || type == "Whitespace" || type == "BertPreTokenizer") {
      refuse_metaspace();
      add_cut(plan, make_class_splitter(is_white_space, kRemoved));
      if (type == "Whitespace") add_cut(plan, scan_word_runs);
      if (type == "BertPreTokenizer") add_cut(plan, make_class_splitter(is_bert_punctuation, {}));
    } else {
      unsupported("pre_tokenizer", type);
    }
  }
}

}  // namespace jericho::tokenizer_json
