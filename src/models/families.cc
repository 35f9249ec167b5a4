// From a file to the reader of its family: see families.h.
#include "models/families.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

// One line per file of families.
std::vector<Family> all_families() {
  std::vector<Family> families;
  for (const auto& group : {llama_families(), mixtral_families(),  // in this order: they share GGUF's "llama"
                            bitnet_families(), deepseek_families(), falcon_h1_families(), gemma_families(),
                            granite_families(), jamba_families(), mamba_families(), mobilellm_families(),
                            olmoe_families(), phi3_families(), qwen_families(), smollm3_families()})
    families.insert(families.end(), group.begin(), group.end());
  return families;
}

const std::vector<Family>& families() {
  static const std::vector<Family> all = all_families();
  return all;
}

const Family& family_named(const std::string& architecture, std::string_view Family::*field) {
  const auto family =
      std::find_if(families().begin(), families().end(), [&](const Family& f) { return f.*field == architecture; });
  if (!architecture.empty() && family != families().end()) return *family;
  std::vector<std::string_view> known;
  for (const Family& f : families()) {
    const bool is_new = std::find(known.begin(), known.end(), f.*field) == known.end();
    if (is_new && !(f.*field).empty()) known.push_back(f.*field);
  }
  throw Error(ErrorKind::kUnsupported, fmt::format("architecture '{}' is not supported yet; supported: {}",
                                                   architecture, fmt::join(known, ", ")));
}

ModelConfig config_from_gguf(const ModelFile& file) {
  const GgufKeys keys(file);
  ModelConfig c = family_named(keys.architecture(), &Family::gguf).from_gguf(keys);
  c.architecture = keys.architecture();
  c.validate();
  return c;
}

// A model that also sees or hears keeps its text part under a name of its own.
void find_text_model(const ModelFile& file, WeightNames& names) {
  if (file.find(names.embedding) != nullptr) return;
  const auto nested = [](const std::string& name, std::string_view outer, std::string_view prefix) {
    return name.starts_with(outer) ? std::string(prefix) + name.substr(outer.size()) : name;
  };
  for (const auto& [outer, prefix] : {std::pair("", "language_model."), std::pair("model.", "model.language_model.")}) {
    if (file.find(nested(names.embedding, outer, prefix)) == nullptr) continue;
    for (std::string* name : {&names.embedding, &names.norm, &names.head, &names.layer})
      *name = nested(*name, outer, prefix);
    return;
  }
}

}  // namespace

std::string_view gguf_name(const std::string& architecture) {
  for (const Family& family : families()) {
    if (family.gguf == architecture) return family.gguf;
  }
  const Family& family = family_named(architecture, &Family::hugging_face);
  if (family.gguf.empty()) not_supported(fmt::format("architecture '{}' in GGUF", architecture));
  return family.gguf;
}

const Family& hugging_face_family(const ModelConfig& config) {
  const Family* general = nullptr;
  for (const Family& family : families()) {
    if (family.gguf != config.architecture || family.hugging_face.empty()) continue;
    if (family.owns != nullptr && family.owns(config)) return family;
    if (family.owns == nullptr && general == nullptr) general = &family;
  }
  if (general == nullptr) not_supported(fmt::format("architecture '{}' as config.json", config.architecture));
  return *general;
}

ModelConfig config_from_json(const Json& outer) {
  if (!outer.is_object()) throw Error(ErrorKind::kInput, "config.json: expected an object");
  if (const auto mamba = mamba_from_native(outer)) return config_from_json(*mamba);
  const Json& config = outer.contains("text_config") && outer["text_config"].is_object() ? outer["text_config"] : outer;
  const auto architectures = outer.find("architectures");
  if (architectures == outer.end() || !architectures->is_array() || architectures->empty() ||
      !(*architectures)[0].is_string()) {
    throw Error(ErrorKind::kUnsupported,
                "config.json: no 'architectures'; Jericho reads the configurations of Hugging Face transformers");
  }
  const std::string architecture = (*architectures)[0].get<std::string>();
  const Family& family = family_named(architecture, &Family::hugging_face);
  ModelConfig c = family.from_json(config);
  c.architecture = architecture;
  c.validate();
  return c;
}

ModelConfig read_config(const ModelFile& file) {
  if (file.format() == ModelFormat::kGguf) return config_from_gguf(file);
  ModelConfig config = config_from_json(file.config());
  if (!file.unsupported().empty()) throw Error(ErrorKind::kUnsupported, file.unsupported());
  find_text_model(file, config.hugging_face_names);
  // The files decide what is shared: some say untied without a head, some tied with one.
  config.tie_word_embeddings = file.find(config.hugging_face_names.head) == nullptr;
  return config;
}

}  // namespace jericho
