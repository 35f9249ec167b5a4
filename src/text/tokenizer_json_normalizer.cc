// The "normalizer" of a tokenizer.json.
#include "text/tokenizer_json_sections.h"

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {

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

}  // namespace jericho::tokenizer_json
