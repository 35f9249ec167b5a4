// jericho inspect: what a model file holds, from its headers alone: metadata, tensors, bytes by type, KV bytes per
// token.
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "formats/model_file.h"
#include "formats/repacking.h"
#include "models/families.h"
#include "models/transformer.h"
#include "models/weights.h"
#include "ops/paged_attention.h"

namespace jericho::cli {
namespace {

using Json = nlohmann::json;

struct InspectOptions {
  std::string model = "builtin";
  bool json = false;
};

constexpr std::size_t kShownElements = 8;  // of long arrays, for people

std::string shape_text(const TensorInfo& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

std::string dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <class T>
constexpr bool kIsArray = false;
template <class T>
constexpr bool kIsArray<std::vector<T>> = true;

// Of an array its first `most` elements.
Json to_json(const MetadataValue& value, std::size_t most) {
  return std::visit(
      [most](const auto& v) -> Json {
        if constexpr (kIsArray<std::decay_t<decltype(v)>>) {
          Json array = Json::array();
          for (std::size_t i = 0; i < std::min(most, v.size()); ++i) {
            array.push_back(static_cast<typename std::decay_t<decltype(v)>::value_type>(v[i]));
          }
          return array;
        } else {
          return v;
        }
      },
      value);
}

std::size_t array_size(const MetadataValue& value) {
  return std::visit(
      [](const auto& v) -> std::size_t {
        if constexpr (kIsArray<std::decay_t<decltype(v)>>) return v.size();
        return 0;
      },
      value);
}

struct ByType {
  Index tensors = 0;
  Index elements = 0;
  Bytes bytes{};
};

std::map<std::string, ByType> bytes_by_type(const ModelFile& file) {
  std::map<std::string, ByType> types;
  for (const TensorInfo& tensor : file.tensors()) {
    ByType& type = types[std::string(name(tensor.dtype))];
    ++type.tensors;
    type.elements += tensor.elements();
    type.bytes += tensor.size;
  }
  return types;
}

// What only a known architecture tells; the reason when it is not known.
struct Known {
  std::optional<ModelConfig> config{};
  std::string why_not{};
};

Known known(const ModelFile& file) {
  try {
    return {.config = read_config(file)};
  } catch (const Error& error) {
    return {.why_not = error.what()};
  }
}

// What people choose from: one type for both, and keys per channel.
std::vector<KvTypes> kv_choices(const ModelConfig& config) {
  std::vector<KvTypes> choices(kKvTypes.begin(), kKvTypes.end());
  if (config.latent.kv_lora_rank == 0) choices.emplace_back(KvType::kQ4C, KvType::kQ4);
  return choices;
}

Bytes kv_bytes(const ModelConfig& config, KvTypes type) { return kv_layout(config, type).bytes_per_token(); }

Bytes state_bytes(const ModelConfig& config, KvType type) { return state_layout(config, type).bytes_per_sequence(); }

void print_json(const ModelFile& file) {
  Json out = {{"path", file.path().string()}, {"format", file.format() == ModelFormat::kGguf ? "gguf" : "huggingface"}};
  if (file.format() == ModelFormat::kHuggingFace) out["config"] = file.config();
  for (const auto& [key, value] : file.metadata().entries()) {
    out["metadata"][key] = array_size(value) > 64 ? Json{{"array_length", array_size(value)}} : to_json(value, 64);
  }
  out["tensors"] = Json::array();
  for (const TensorInfo& tensor : file.tensors()) {
    out["tensors"].push_back({{"name", tensor.name},
                              {"type", name(tensor.dtype)},
                              {"shape", tensor.shape},
                              {"bytes", tensor.size.count},
                              {"offset", tensor.offset}});
    if (tensor.repacking != nullptr) out["tensors"].back()["stored_as"] = tensor.repacking->method();
  }
  Index parameters = 0;
  Bytes total{};
  for (const auto& [type, sum] : bytes_by_type(file)) {
    out["types"][type] = {{"tensors", sum.tensors}, {"elements", sum.elements}, {"bytes", sum.bytes.count}};
    parameters += sum.elements;
    total += sum.bytes;
  }
  out["parameters"] = parameters;
  out["tensor_bytes"] = total.count;
  if (const Known model = known(file); model.config) {
    for (const KvTypes type : kv_choices(*model.config))
      out["kv_bytes_per_token"][name(type)] = kv_bytes(*model.config, type).count;
    if (model.config->state_space_layers() > 0) {
      for (const KvType type : kKvTypes)
        out["state_bytes_per_sequence"][std::string(name(type))] = state_bytes(*model.config, type).count;
    }
  } else {
    out["not_runnable"] = model.why_not;
  }
  fmt::print("{}\n", dump(out));
}

void print_text(const ModelFile& file) {
  fmt::print("{}: {}, {} tensor{} in {} file{}\n\nmetadata\n", file.path().string(),
             file.format() == ModelFormat::kGguf ? "GGUF" : "Hugging Face directory", file.tensors().size(),
             file.tensors().size() == 1 ? "" : "s", file.files().size(), file.files().size() == 1 ? "" : "s");
  if (file.format() == ModelFormat::kHuggingFace) {
    for (const auto& [key, value] : file.config().items()) fmt::print("  {:<40} {}\n", key, dump(value));
  }
  for (const auto& [key, value] : file.metadata().entries()) {
    const std::size_t size = array_size(value);
    std::string text = dump(to_json(value, kShownElements));
    if (size > kShownElements) text = fmt::format("{} ... {} in all", text.substr(0, text.size() - 1), size);
    if (text.size() > 200) text = text.substr(0, 200) + " ...";
    fmt::print("  {:<40} {}\n", key, text);
  }
  fmt::print("\ntensors\n");
  for (const TensorInfo& tensor : file.tensors()) {
    fmt::print("  {:<44} {:<6} {:<20} {:>10}{}\n", tensor.name, name(tensor.dtype), shape_text(tensor),
               format_bytes(tensor.size), tensor.repacking == nullptr ? "" : "  " + tensor.repacking->method());
  }
  fmt::print("\nbytes by type\n");
  Index parameters = 0;
  Bytes total{};
  for (const auto& [type, sum] : bytes_by_type(file)) {
    fmt::print("  {:<6} {:>6} tensors {:>16} values {:>10}\n", type, sum.tensors, sum.elements,
               format_bytes(sum.bytes));
    parameters += sum.elements;
    total += sum.bytes;
  }
  fmt::print("  {:<6} {:>6} tensors {:>16} values {:>10}  {:.3f} bits per value\n", "all", file.tensors().size(),
             parameters, format_bytes(total),
             parameters > 0 ? static_cast<double>(total.count) * 8 / static_cast<double>(parameters) : 0.0);
  if (const Known model = known(file); model.config) {
    fmt::print("\nKV bytes per token\n");
    for (const KvTypes type : kv_choices(*model.config))
      fmt::print("  {:<6} {:>8}\n", name(type), kv_bytes(*model.config, type).count);
    if (model.config->state_space_layers() > 0) {
      fmt::print("\nstate bytes per sequence, by KV type\n");
      for (const KvType type : kKvTypes)
        fmt::print("  {:<6} {:>8}\n", name(type), state_bytes(*model.config, type).count);
    }
  } else {
    fmt::print("\ncannot be run: {}\n", model.why_not);
  }
}

}  // namespace

void add_inspect(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("inspect", "Show what a model file holds");
  auto options = std::make_shared<InspectOptions>();
  verb->add_option("model,-m,--model", options->model,
                   "MODEL: a .gguf file, a Hugging Face directory, or the built-in one")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "Print one object");
  verb->callback([options, &chosen] {
    chosen = [options](const std::stop_token&) {
      const auto file = open_model(options->model);
      options->json ? print_json(*file) : print_text(*file);
      return 0;
    };
  });
}

}  // namespace jericho::cli
