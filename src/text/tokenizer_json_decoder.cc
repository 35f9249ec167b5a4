// The "decoder" of a tokenizer.json.
#include "text/tokenizer_json_sections.h"

#include "text/hf_settings.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {

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

}  // namespace jericho::tokenizer_json
