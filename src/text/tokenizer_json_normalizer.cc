// The "normalizer" of a tokenizer.json: one row per type of node that only rewrites text, the others by name. Start at
// read_normalizer().
#include "text/tokenizer_json_sections.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/base64.h"
#include "text/charsmap.h"
#include "text/hf_settings.h"
#include "text/regex_split.h"
#include "text/rewrites.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {
namespace {

using RewriteFunction = std::string (*)(std::string_view);

struct NamedRewrite {
  std::string_view type{};
  RewriteFunction rewrite = nullptr;
  bool takes_space_for_metaspace = false;  // does the same to text with U+2581 and with spaces in its place
};
constexpr NamedRewrite kRewrites[] = {{"NFC", to_nfc, true},         {"NFD", to_nfd, true},
                                      {"NFKC", to_nfkc, true},       {"NFKD", to_nfkd, true},
                                      {"Lowercase", to_lower, true}, {"StripAccents", strip_marks, true},
                                      {"Nmt", clean_nmt, false}};

bool is_metaspace(const json& node) {
  if (json_text(node, "type", "") != "Replace") return false;
  const Pattern pattern = pattern_of(node, "normalizer");
  return !pattern.is_regex && pattern.text == " " && json_text(node, "content", "") == kMetaspace;
}

void read_precompiled(const json& node, Normalizer& normalizer) {
  const auto blob = decode_base64(json_text(node, "precompiled_charsmap", ""));
  if (!blob) throw Error(ErrorKind::kInput, "normalizer: precompiled_charsmap is not base64");
  const auto map = std::make_shared<const Charsmap>(*blob);
  normalizer.add([map](std::string_view text) { return map->apply_by_grapheme(text); }, map->memory_bytes());
}

void read_strip(const json& node, Normalizer& normalizer) {
  if (json_flag(node, "strip_left", true)) normalizer.add(strip_left);
  if (json_flag(node, "strip_right", true)) normalizer.add(strip_right);
}

void read_bert(const json& node, Normalizer& normalizer) {
  const bool lowercase = json_flag(node, "lowercase", true);
  if (json_flag(node, "clean_text", true)) normalizer.add(clean_for_bert);
  if (json_flag(node, "handle_chinese_chars", true)) normalizer.add(space_ideographs);
  if (json_flag(node, "strip_accents", lowercase)) normalizer.add(strip_accents);
  if (lowercase) normalizer.add(to_lower);
}

}  // namespace

void read_normalizer(const json& root, Plan& plan) {
  const auto section = nodes(root, "normalizer", "normalizers");
  for (const json* node : section) plan.metaspace = plan.metaspace || is_metaspace(*node);
  const auto plain = [&](const std::string& text) {
    return plan.metaspace ? replace_all(text, kMetaspace, " ") : text;
  };
  Normalizer& normalizer = plan.parts.normalizer;
  bool has_metaspace = false;  // from here on a space of the text stands for U+2581
  for (const json* node : section) {
    const std::string type = json_text(*node, "type", "");
    const auto refuse_metaspace = [&] {
      if (has_metaspace) unsupported("normalizer", fmt::format("{} behind the Replace of spaces by U+2581", type));
    };
    const auto* named = std::find_if(std::begin(kRewrites), std::end(kRewrites),
                                     [&](const NamedRewrite& row) { return row.type == type; });
    if (named != std::end(kRewrites)) {
      if (!named->takes_space_for_metaspace) refuse_metaspace();
      normalizer.add(named->rewrite);
    } else if (is_metaspace(*node)) {
      normalizer.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
      has_metaspace = true;
    } else if (type == "Prepend") {
      normalizer.add({.kind = Step::Kind::kPrepend, .to = plain(json_text(*node, "prepend", ""))});
    } else if (type == "Replace") {
      const Pattern pattern = pattern_of(*node, "normalizer");
      const std::string content = plain(json_text(*node, "content", ""));
      if (pattern.text.empty()) throw Error(ErrorKind::kInput, "normalizer: Replace of nothing");
      if (pattern.is_regex) {
        refuse_metaspace();
        normalizer.add(make_regex_rewrite(pattern.text, content));
      } else {
        normalizer.add({.kind = Step::Kind::kReplace, .from = plain(pattern.text), .to = content});
      }
    } else if (type == "Strip") {
      refuse_metaspace();
      read_strip(*node, normalizer);
    } else if (type == "Precompiled") {
      refuse_metaspace();
      read_precompiled(*node, normalizer);
    } else if (type == "BertNormalizer") {
      refuse_metaspace();
      read_bert(*node, normalizer);
    } else {
      unsupported("normalizer", type);
    }
  }
}

}  // namespace jericho::tokenizer_json
