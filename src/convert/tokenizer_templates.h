// The chat templates of a model, all that it has: the default one and those with a name ("tool_use", "rag").
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "text/hf_settings.h"

namespace jericho {

class GgufWriter;
class Metadata;

struct NamedTemplate {
  std::string name{};  // "default" is the one to use when none is asked for
  std::string text{};
};

// chat_template.jinja, else chat_template.json, else tokenizer_config.json is asked for the default one, and all of
// them for named ones. Error(kInput) names a file whose "chat_template" is neither text nor a list of {"name",
// "template"}.
std::vector<NamedTemplate> read_chat_templates(const SideFiles& files);
std::vector<NamedTemplate> read_chat_templates(const Metadata& metadata);

// tokenizer.chat_template, tokenizer.chat_template.NAME and the list tokenizer.chat_templates.
void write_chat_templates(const std::vector<NamedTemplate>& templates, GgufWriter& out);
// What stands under "chat_template" of a tokenizer_config.json; null for none.
nlohmann::json chat_templates_as_json(const std::vector<NamedTemplate>& templates);

}  // namespace jericho
