// Where models keep their chat templates. Start at find_chat_template().
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/model_file.h"
#include "text/chat_template.h"

namespace jericho {
namespace {

constexpr Bytes kMaxConfig = 64_MiB;  // tokenizer_config.json lists added tokens too

// A string, or a list of {"name", "template"} as tokenizer_config.json has it.
std::optional<std::string> pick(const nlohmann::json& templates, std::string_view file, std::string_view name) {
  if (templates.is_null()) return std::nullopt;
  if (templates.is_string()) return templates.get<std::string>();
  const auto refuse = [&] {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: chat_template: expected text or a list of {{\"name\", \"template\"}}", file));
  };
  if (!templates.is_array()) refuse();
  std::optional<std::string> fallback;
  for (const auto& each : templates) {
    const bool good = each.is_object() && each.contains("name") && each["name"].is_string() &&
                      each.contains("template") && each["template"].is_string();
    if (!good) refuse();
    if (each["name"] == name) return each["template"].get<std::string>();
    if (each["name"] == "default") fallback = each["template"].get<std::string>();
  }
  return fallback;
}

std::optional<std::string> from_metadata(const Metadata& metadata, std::string_view name) {
  const std::string* named = metadata.text(fmt::format("tokenizer.chat_template.{}", name));
  const std::string* found = named != nullptr ? named : metadata.text("tokenizer.chat_template");
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

}  // namespace

std::optional<std::string> find_chat_template(const SideFileReader& read, std::string_view name) {
  if (auto text = read("chat_template.jinja", kMaxTemplate)) return text;
  for (const std::string_view side : {"chat_template.json", "tokenizer_config.json"}) {
    const auto text = read(side, kMaxConfig);
    if (!text) continue;
    const nlohmann::json json = parse_json(*text, side, kMaxConfig);
    if (!json.is_object()) throw Error(ErrorKind::kInput, fmt::format("{}: expected a JSON object", side));
    if (!json.contains("chat_template")) continue;
    if (auto found = pick(json["chat_template"], side, name)) return found;
  }
  return std::nullopt;
}

std::optional<std::string> find_chat_template(const ModelFile& file, std::string_view name) {
  if (file.format() == ModelFormat::kGguf) return from_metadata(file.metadata(), name);
  return find_chat_template([&](std::string_view side, Bytes most) { return file.side_file(side, most); }, name);
}

}  // namespace jericho
