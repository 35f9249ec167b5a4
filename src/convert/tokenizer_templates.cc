// Templates out of files and keys, and into them. Start at read_chat_templates().
#include "convert/tokenizer_templates.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/gguf_writer.h"
#include "formats/json_file.h"
#include "formats/metadata.h"

namespace jericho {
namespace {

constexpr Bytes kMaxSettings = 64_MiB;  // tokenizer_config.json lists added tokens too
constexpr std::string_view kKey = "tokenizer.chat_template";
constexpr std::string_view kDefault = "default";

// The first template of a name stays.
void add(NamedTemplate one, std::vector<NamedTemplate>& templates) {
  const auto same = [&](const NamedTemplate& other) { return other.name == one.name; };
  if (std::none_of(templates.begin(), templates.end(), same)) templates.push_back(std::move(one));
}

void add_from_json(const nlohmann::json& value, std::string_view file, std::vector<NamedTemplate>& templates) {
  if (value.is_null()) return;
  if (value.is_string()) return add({std::string(kDefault), value.get<std::string>()}, templates);
  const auto refuse = [&] {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: chat_template: expected text or a list of {{\"name\", \"template\"}}", file));
  };
  if (!value.is_array()) refuse();
  for (const auto& each : value) {
    const bool good = each.is_object() && each.contains("name") && each["name"].is_string() &&
                      each.contains("template") && each["template"].is_string();
    if (!good) refuse();
    add({each["name"].get<std::string>(), each["template"].get<std::string>()}, templates);
  }
}

}  // namespace

std::vector<NamedTemplate> read_chat_templates(const SideFiles& files) {
  std::vector<NamedTemplate> templates;
  if (auto text = files("chat_template.jinja")) add({std::string(kDefault), std::move(*text)}, templates);
  for (const std::string_view name : {"chat_template.json", "tokenizer_config.json"}) {
    const auto text = files(name);
    if (!text) continue;
    const nlohmann::json object = parse_json(*text, name, kMaxSettings);
    if (!object.is_object()) throw Error(ErrorKind::kInput, fmt::format("{}: expected a JSON object", name));
    if (object.contains("chat_template")) add_from_json(object["chat_template"], name, templates);
  }
  return templates;
}

std::vector<NamedTemplate> read_chat_templates(const Metadata& metadata) {
  std::vector<NamedTemplate> templates;
  if (const std::string* text = metadata.text(kKey)) templates.push_back({std::string(kDefault), *text});
  const std::string prefix = fmt::format("{}.", kKey);
  for (const auto& [key, value] : metadata.entries()) {
    if (key.starts_with(prefix)) add({key.substr(prefix.size()), *metadata.text(key)}, templates);
  }
  return templates;
}

void write_chat_templates(const std::vector<NamedTemplate>& templates, GgufWriter& out) {
  std::vector<std::string> names;
  for (const NamedTemplate& each : templates) {
    if (each.name == kDefault) {
      out.set(std::string(kKey), each.text);
    } else {
      out.set(fmt::format("{}.{}", kKey, each.name), each.text);
      names.push_back(each.name);
    }
  }
  if (!names.empty()) out.set("tokenizer.chat_templates", names);
}

nlohmann::json chat_templates_as_json(const std::vector<NamedTemplate>& templates) {
  if (templates.empty()) return nullptr;
  if (templates.size() == 1 && templates[0].name == kDefault) return templates[0].text;
  nlohmann::json list = nlohmann::json::array();
  for (const NamedTemplate& each : templates) list.push_back({{"name", each.name}, {"template", each.text}});
  return list;
}

}  // namespace jericho
