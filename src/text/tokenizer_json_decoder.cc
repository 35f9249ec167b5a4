// The "decoder" of a tokenizer.json. A token is decoded by itself, so that text can be streamed: what looks at several
// tokens at once is refused, but for a space at the start or the end of the text. Start at read_decoder().
#include <fmt/format.h>

#include "base/error.h"
#include "text/hf_settings.h"
#include "text/regex_split.h"
#include "text/tokenizer_json_sections.h"
#include "text/unicode.h"

namespace jericho::tokenizer_json {
namespace {

// Adds a change of single tokens behind those there are.
void add_rewrite(TokenizerParts& parts, Rewrite next) {
  if (!parts.decode_piece) {
    parts.decode_piece = std::move(next);
    return;
  }
  parts.decode_piece = [first = std::move(parts.decode_piece), next = std::move(next)](std::string_view piece) {
    return next(first(piece));
  };
}

void read_replace(const json& node, bool fused, Plan& plan) {
  const Pattern pattern = pattern_of(node, "decoder");
  const std::string content = json_text(node, "content", "");
  if (!pattern.is_regex && pattern.text == kMetaspace && content == " ") {
    plan.decodes_metaspace = true;
    return;
  }
  if (fused) unsupported("decoder", "Replace in text that several tokens make");
  if (pattern.text.empty()) throw Error(ErrorKind::kInput, "decoder: Replace of nothing");
  if (pattern.text.find(kMetaspace) != std::string::npos) unsupported("decoder", "Replace of U+2581 with more");
  if (pattern.is_regex) return add_rewrite(plan.parts, make_regex_rewrite(pattern.text, content));
  add_rewrite(plan.parts,
              [from = pattern.text, content](std::string_view piece) { return replace_all(piece, from, content); });
}

void read_strip(const json& node, bool fused, Plan& plan) {
  const std::string content = json_text(node, "content", "");
  const Index start = json_index(node, "start");
  const Index stop = json_index(node, "stop");
  if (fused) {
    if (content != " " || start != 1 || stop != 0) unsupported("decoder", "Strip other than of one leading space");
    plan.parts.strips_leading_space = true;
    return;
  }
  if (content.empty()) throw Error(ErrorKind::kInput, "decoder: Strip of nothing");
  add_rewrite(plan.parts, [=](std::string_view piece) {
    for (Index i = 0; i < start && piece.starts_with(content); ++i) piece.remove_prefix(content.size());
    for (Index i = 0; i < stop && piece.ends_with(content); ++i) piece.remove_suffix(content.size());
    return std::string(piece);
  });
}

// What WordPiece's `cleanup` does to a token with the space before it.
std::string clean_up(std::string_view piece) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  std::string text(piece);
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

}  // namespace

void read_decoder(const json& root, Plan& plan) {
  const auto section = nodes(root, "decoder", "decoders");
  if (section.empty()) unsupported("decoder", "null (pieces joined by spaces)");
  TokenizerParts& parts = plan.parts;
  bool fused = false;  // tokens have become one text
  for (const json* node : section) {
    const std::string type = json_text(*node, "type", "");
    if (type == "ByteLevel") {
      plan.decodes_byte_level = fused = true;
    } else if (type == "Metaspace") {
      plan.decodes_metaspace = true;
      const std::string scheme =
          json_text(*node, "prepend_scheme", json_flag(*node, "add_prefix_space", true) ? "always" : "never");
      parts.strips_leading_space = scheme != "never";
    } else if (type == "Replace") {
      read_replace(*node, fused, plan);
    } else if (type == "Strip") {
      read_strip(*node, fused, plan);
    } else if (type == "WordPiece") {
      plan.decodes_word_piece = parts.strips_leading_space = true;
      if (json_flag(*node, "cleanup", true)) add_rewrite(parts, clean_up);
    } else if (type == "BPEDecoder") {
      plan.decodes_word_end = json_text(*node, "suffix", "</w>");
      parts.strips_trailing_space = true;
    } else if (type == "Fuse") {
      fused = true;
    } else if (type != "ByteFallback") {
      unsupported("decoder", type);
    }
  }
}

}  // namespace jericho::tokenizer_json
