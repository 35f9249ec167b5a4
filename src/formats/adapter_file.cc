// Keys, names and shapes of an adapter: see adapter_file.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/adapter_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>

#include <fmt/format.h>
#include <pcre2.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kPrefix = "base_model.model.";

// Keys that change what an adapter computes, when they say anything but this.
struct RefusedKey {
  const char* key;
  const char* why;
};
constexpr std::array kRefusedKeys = {
    RefusedKey{"fan_in_fan_out", "weights kept as [in, out]"},
    RefusedKey{"lora_bias", "biases of lora_B"},
    RefusedKey{"modules_to_save", "modules that are saved whole"},
    RefusedKey{"layer_replication", "layers that are stacked anew"},
    RefusedKey{"trainable_token_indices", "rows of the embedding that are replaced"},
    RefusedKey{"target_parameters", "adapted parameters that are no module's weight"},
    RefusedKey{"alora_invocation_tokens", "adapters that begin at a token"},
    RefusedKey{"arrow_config", "adapters that are chosen per token"},
    RefusedKey{"use_qalora", "QALoRA's grouped inputs"},
    RefusedKey{"use_bdlora", "block-diagonal matrices"},
    RefusedKey{"bdlora_config", "block-diagonal matrices"},
    RefusedKey{"use_velora", "VeLoRA's inputs"},
    RefusedKey{"velora_config", "VeLoRA's inputs"},
    RefusedKey{"use_kasa", "KaSA's singular values"},
    RefusedKey{"kasa_config", "KaSA's singular values"},
};

bool says_nothing(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object() || value.is_string()) && value.empty());
}

class Settings {
 public:
  Settings(const Json& json, std::string_view what) : json_(json), what_(what) {
    if (!json.is_object()) throw Error(ErrorKind::kInput, fmt::format("{}: expected an object", what));
  }

  [[nodiscard]] const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void refuse(const std::string& key, const char* expected, const Json& found) const {
    const std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
    throw Error(ErrorKind::kInput,
                fmt::format("{}: '{}': expected {}, found {}", what_, key, expected, text.substr(0, 80)));
  }
  [[nodiscard]] double number(const std::string& key, const Json& value, double least) const {
    constexpr double kMost = 1e9;
    if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= kMost))
      refuse(key, least > 0 ? "a number above 0, up to 1e9" : "a number of 0 to 1e9", value);
    return value.get<double>();
  }
  [[nodiscard]] Index whole(const std::string& key, const Json& value) const {
    constexpr Index kMost = Index{1} << 20;
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > static_cast<double>(kMost))
      refuse(key, "a whole number from 1 to 2^20", value);
    return value.get<Index>();
  }
  [[nodiscard]] bool flag(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) refuse(key, "true or false", *value);
    return value->get<bool>();
  }
  [[nodiscard]] std::string text(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) refuse(key, "text", *value);
    return value->get<std::string>();
  }
  template <class Read>
  auto pattern(const char* key, Read read) const {
    std::vector<std::pair<std::string, decltype(read(std::string(), Json()))>> out;
    const Json* map = find(key);
    if (map == nullptr) return out;
    if (!map->is_object()) refuse(key, "an object", *map);
    for (const auto& [pattern, value] : map->items())
      out.emplace_back(pattern, read(fmt::format("{}.{}", key, pattern), value));
    return out;
  }

 private:
  const Json& json_;
  std::string_view what_;
};

// A key of rank_pattern or alpha_pattern: an expression for the end of a module's path, from a dot or its beginning on.
class PathPattern {
 public:
  PathPattern(const std::string& key, const std::string& what) : key_(key), what_(what) {
    const std::string pattern = "(?:.*\\.)?(?:" + key + ")$";
    int number = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_ANCHORED | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &number,
                              &offset, nullptr));
    if (code_ == nullptr) throw Error(ErrorKind::kInput, fmt::format("{}: '{}' is no regular expression", what, key));
    limits_.reset(pcre2_match_context_create(nullptr));
    data_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (limits_ == nullptr || data_ == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(limits_.get(), 1'000'000);
    pcre2_set_heap_limit(limits_.get(), 1024);  // KiB
  }

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] bool matches(const std::string& path) const {
    const int outcome = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(path.data()), path.size(), 0, 0,
                                    data_.get(), limits_.get());
    if (outcome < 0 && outcome != PCRE2_ERROR_NOMATCH) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: the expression '{}' takes too long on '{}'", what_, key_, path));
    }
    return outcome >= 0;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::string key_, what_;
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> limits_;
};

// The value of the key that matches, else `otherwise`. PEFT takes the first in the file's order, which JSON does not
// promise to keep: keys that match one module and disagree are refused.
template <class T>
class Pattern {
 public:
  Pattern(const std::vector<std::pair<std::string, T>>& map, const std::string& what) : what_(what) {
    for (const auto& [key, value] : map) entries_.emplace_back(PathPattern(key, what), value);
  }
  [[nodiscard]] T of(const std::string& path, T otherwise) const {
    const std::pair<PathPattern, T>* found = nullptr;
    for (const auto& entry : entries_) {
      if (!entry.first.matches(path)) continue;
      if (found != nullptr && found->second != entry.second) {
        throw Error(ErrorKind::kInput,
                    fmt::format("{}: '{}' and '{}' both match {} and give {} and {}; leave one of them out", what_,
                                found->first.key(), entry.first.key(), path, found->second, entry.second));
      }
      found = &entry;
    }
    return found != nullptr ? found->second : otherwise;
  }

 private:
  std::string what_;
  std::vector<std::pair<PathPattern, T>> entries_;
};

enum class Part { kA, kB, kMagnitude };

struct TensorPlace {
  std::string module{};
  Part part{};
};

std::optional<TensorPlace> place_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  // Also with the adapter's own name, as some tools leave it.
  constexpr std::array<std::pair<std::string_view, Part>, 7> kEnds = {
      {{".lora_A.weight", Part::kA},
       {".lora_A.default.weight", Part::kA},
       {".lora_B.weight", Part::kB},
       {".lora_B.default.weight", Part::kB},
       {".lora_magnitude_vector", Part::kMagnitude},
       {".lora_magnitude_vector.weight", Part::kMagnitude},
       {".lora_magnitude_vector.default.weight", Part::kMagnitude}}};
  for (const auto& [end, part] : kEnds) {
    if (name.ends_with(end)) return TensorPlace{std::string(name.substr(0, name.size() - end.size())), part};
  }
  return std::nullopt;
}

std::string shape_text(const TensorInfo& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

[[noreturn]] void refuse_shape(const TensorInfo& tensor, const std::string& expected) {
  throw Error(ErrorKind::kInput,
              fmt::format("tensor '{}': expected {}, found {}", tensor.name, expected, shape_text(tensor)));
}

std::map<std::string, std::map<Part, TensorInfo>> tensors_by_module(const SafetensorsHeader& header) {
  std::map<std::string, std::map<Part, TensorInfo>> modules;
  for (const TensorInfo& tensor : header.tensors) {
    const auto place = place_of(tensor.name);
    if (!place) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("tensor '{}': expected {}MODULE.lora_A.weight, .lora_B.weight or .lora_magnitude_vector; "
                              "adapted embeddings, biases and modules that are saved whole are not supported",
                              tensor.name, kPrefix));
    }
    if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("tensor '{}': expected F32, F16 or BF16, found {}", tensor.name, name(tensor.dtype)));
    }
    if (!modules[place->module].emplace(place->part, tensor).second)
      throw Error(ErrorKind::kInput, fmt::format("tensor '{}': its module has another of this kind", tensor.name));
  }
  return modules;
}

AdapterModule module_of(const std::string& path, const std::map<Part, TensorInfo>& tensors,
                        const AdapterSettings& settings, Index rank) {
  const auto find = [&](Part part) {
    const auto found = tensors.find(part);
    return found == tensors.end() ? nullptr : &found->second;
  };
  const TensorInfo *a = find(Part::kA), *b = find(Part::kB), *magnitude = find(Part::kMagnitude);
  if (a == nullptr || b == nullptr) {
    throw Error(ErrorKind::kInput, fmt::format("tensor '{}': is missing, the rest of its module is there",
                                               a == nullptr ? lora_a_name(path) : lora_b_name(path)));
  }
  if (a->shape.size() != 2 || a->shape[0] != rank || a->shape[1] < 1)
    refuse_shape(*a, fmt::format("[{}, in], of the rank that {} names", rank, kAdapterConfig));
  if (b->shape.size() != 2 || b->shape[1] != rank || b->shape[0] < 1)
    refuse_shape(*b, fmt::format("[out, {}], of the rank that {} names", rank, kAdapterConfig));
  if (settings.dora != (magnitude != nullptr)) {
    throw Error(ErrorKind::kInput, fmt::format("module '{}': {} says use_dora {}, and there is {} magnitude vector",
                                               path, kAdapterConfig, settings.dora, magnitude == nullptr ? "no" : "a"));
  }
  AdapterModule module{.path = path, .a = *a, .b = *b};
  if (magnitude != nullptr) {
    if (magnitude->elements() != module.out()) refuse_shape(*magnitude, fmt::format("[{}]", module.out()));
    module.magnitude = *magnitude;
  }
  return module;
}

std::filesystem::path tensor_file(const std::filesystem::path& folder) {
  const auto path = folder / kAdapterTensors;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored) && std::filesystem::exists(folder / "adapter_model.bin", ignored)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: has adapter_model.bin, a pickle, which is not read; save it as {}", folder.string(),
                            kAdapterTensors));
  }
  return path;
}

AdapterSettings read_settings(const std::filesystem::path& folder) {
  const auto path = folder / kAdapterConfig;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: expected a folder with {} and {}", folder.string(), kAdapterConfig, kAdapterTensors));
  }
  return parse_adapter_settings(read_whole_file(path, kMaxConfigJson), path.string());
}

}  // namespace

double AdapterSettings::scale(Index module_rank, double module_alpha) const {
  const auto r = static_cast<double>(module_rank);
  return module_alpha / (rslora ? std::sqrt(r) : r);
}

AdapterSettings parse_adapter_settings(std::string_view text, std::string_view what) {
  const Json json = parse_json(text, what);
  const Settings read(json, what);
  const Json* type = read.find("peft_type");
  if (type == nullptr || *type != "LORA") {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format(
            "{}: 'peft_type': expected \"LORA\", found {}", what,
            type == nullptr ? "nothing" : type->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80)));
  }
  for (const RefusedKey& refused : kRefusedKeys) {
    const Json* value = read.find(refused.key);
    if (value != nullptr && !says_nothing(*value))
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: '{}': {} are not supported", what, refused.key, refused.why));
  }
  if (const std::string bias = read.text("bias"); !bias.empty() && bias != "none")
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: 'bias': expected \"none\", found \"{}\"", what, bias));
  AdapterSettings settings;
  settings.base_model = read.text("base_model_name_or_path");
  if (const Json* r = read.find("r")) settings.rank = read.whole("r", *r);
  if (const Json* alpha = read.find("lora_alpha")) settings.alpha = read.number("lora_alpha", *alpha, 0);
  if (const Json* dropout = read.find("lora_dropout")) settings.dropout = read.number("lora_dropout", *dropout, 0);
  settings.rslora = read.flag("use_rslora");
  settings.dora = read.flag("use_dora");
  if (const Json* targets = read.find("target_modules")) {
    if (targets->is_string()) settings.target_modules.push_back(targets->get<std::string>());
    if (targets->is_array()) {
      for (const Json& each : *targets) {
        if (!each.is_string()) read.refuse("target_modules", "text or a list of it", *targets);
        settings.target_modules.push_back(each.get<std::string>());
      }
    }
  }
  settings.rank_pattern =
      read.pattern("rank_pattern", [&](const std::string& key, const Json& value) { return read.whole(key, value); });
  settings.alpha_pattern = read.pattern(
      "alpha_pattern", [&](const std::string& key, const Json& value) { return read.number(key, value, 0); });
  return settings;
}

Json to_json(const AdapterSettings& s) {
  Json ranks = Json::object(), alphas = Json::object();
  for (const auto& [key, rank] : s.rank_pattern) ranks[key] = rank;
  for (const auto& [key, alpha] : s.alpha_pattern) alphas[key] = alpha;
  const auto whole_if_whole = [](double x) {
    return x == std::floor(x) && std::abs(x) < 0x1p53 ? Json(static_cast<std::int64_t>(x)) : Json(x);
  };
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", s.base_model},
          {"revision", nullptr},
          {"inference_mode", true},
          {"auto_mapping", nullptr},
          {"r", s.rank},
          {"lora_alpha", whole_if_whole(s.alpha)},
          {"lora_dropout", s.dropout},
          {"target_modules", s.target_modules},
          {"exclude_modules", nullptr},
          {"fan_in_fan_out", false},
          {"bias", "none"},
          {"use_rslora", s.rslora},
          {"use_dora", s.dora},
          {"lora_bias", false},
          {"init_lora_weights", true},
          {"modules_to_save", nullptr},
          {"layers_to_transform", nullptr},
          {"layers_pattern", nullptr},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"layer_replication", nullptr}};
}

std::string lora_a_name(std::string_view module) { return fmt::format("{}{}.lora_A.weight", kPrefix, module); }
std::string lora_b_name(std::string_view module) { return fmt::format("{}{}.lora_B.weight", kPrefix, module); }
std::string lora_magnitude_name(std::string_view module) {
  return fmt::format("{}{}.lora_magnitude_vector", kPrefix, module);
}

AdapterFile::AdapterFile(std::filesystem::path folder)
    : folder_(std::move(folder)), settings_(read_settings(folder_)), tensors_(tensor_file(folder_)) {
  const std::string path = (folder_ / kAdapterTensors).string();
  with_context([&] { return path; },
               [&] {
                 const auto tensors = tensors_by_module(read_safetensors_header(tensors_));
                 if (tensors.empty()) throw Error(ErrorKind::kInput, "expected adapted modules, found no tensor");
                 const Pattern<Index> ranks(settings_.rank_pattern, "rank_pattern");
                 const Pattern<double> alphas(settings_.alpha_pattern, "alpha_pattern");
                 for (const auto& [module, parts] : tensors) {
                   modules_.push_back(module_of(module, parts, settings_, ranks.of(module, settings_.rank)));
                   modules_.back().scale = settings_.scale(modules_.back().rank(), alphas.of(module, settings_.alpha));
                 }
               });
}

Index AdapterFile::parameters() const {
  Index count = 0;
  for (const AdapterModule& m : modules_) {
    count += m.a.elements() + m.b.elements() + (m.magnitude ? m.magnitude->elements() : 0);
  }
  return count;
}

void AdapterFile::read(const TensorInfo& tensor, Bytes offset, std::span<std::byte> out) const {
  with_context([&] { return fmt::format("{}: tensor '{}'", (folder_ / kAdapterTensors).string(), tensor.name); },
               [&] { tensors_.read_at(tensor.offset + offset.count, out); });
}

}  // namespace jericho
