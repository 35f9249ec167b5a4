// The baseline that all families share: the keys of config.json (transformers) and of GGUF (llama.cpp) for a Llama-like
// decoder.
#include "models/families.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/rope.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

std::vector<Family> all_families() {
  std::vector<Family> families;
  for (const auto& group : {llama_families(), qwen_families()})
    families.insert(families.end(), group.begin(), group.end());
  return families;
}

[[noreturn]] void unknown_architecture(const std::string& found, std::string_view Family::*field) {
  std::vector<std::string_view> known;
  for (const Family& family : all_families()) {
    if (!(family.*field).empty()) known.push_back(family.*field);
  }
  throw Error(ErrorKind::kUnsupported,
              fmt::format("architecture '{}' is not supported yet; supported: {}", found, fmt::join(known, ", ")));
}

// A member of the expected type; absent and null count the same.
template <class T>
std::optional<T> get(const Json& config, const char* key) {
  const auto member = config.find(key);
  if (member == config.end() || member->is_null()) return std::nullopt;
  const bool fits = std::is_same_v<T, bool>          ? member->is_boolean()
                    : std::is_same_v<T, std::string> ? member->is_string()
                    : std::is_same_v<T, Index>       ? member->is_number_integer()
                                                     : member->is_number();
  if (!fits)
    throw Error(ErrorKind::kInput,
                fmt::format("config.json: '{}' is {}, which is of the wrong type", key, member->dump()));
  return member->get<T>();
}

Index require(const Json& config, const char* key) {
  const auto value = get<Index>(config, key);
  if (!value) throw Error(ErrorKind::kInput, fmt::format("config.json: '{}' is missing", key));
  return *value;
}

RopeScaling scaling_named(const std::string& type, const std::string& where) {
  if (type == "default" || type == "none" || type == "mrope") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: rope scaling '{}' is not supported yet; supported: linear, llama3, yarn", where, type));
}

// rope_theta and rope_scaling, or the rope_parameters of transformers 5.
void read_rope(const Json& config, ModelConfig& out) {
  RopeConfig& rope = out.rope;
  const Json* scaling = nullptr;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const auto member = config.find(key); member != config.end() && member->is_object()) scaling = &*member;
  }
  rope.theta = get<double>(config, "rope_theta").value_or(rope.theta);
  rope.dims = static_cast<Index>(static_cast<double>(out.head_dim) *
                                 get<double>(config, "partial_rotary_factor").value_or(1.0));
  if (scaling == nullptr) return;
  for (const auto& [key, value] : scaling->items()) {
    if (value.is_object()) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("config.json: rope_parameters per layer type ('{}') are not supported yet", key));
    }
  }
  rope.theta = get<double>(*scaling, "rope_theta").value_or(rope.theta);
  const auto type =
      get<std::string>(*scaling, "rope_type").value_or(get<std::string>(*scaling, "type").value_or("default"));
  rope.scaling = scaling_named(type, "config.json");
  rope.factor = get<double>(*scaling, "factor").value_or(1);
  rope.low_freq_factor = get<double>(*scaling, "low_freq_factor").value_or(rope.low_freq_factor);
  rope.high_freq_factor = get<double>(*scaling, "high_freq_factor").value_or(rope.high_freq_factor);
  rope.beta_fast = get<double>(*scaling, "beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = get<double>(*scaling, "beta_slow").value_or(rope.beta_slow);
  rope.truncate = get<bool>(*scaling, "truncate").value_or(true);
  rope.attention_factor = get<double>(*scaling, "attention_factor");
  rope.original_max_position_embeddings =
      get<Index>(*scaling, "original_max_position_embeddings").value_or(out.max_position_embeddings);
}

void refuse_unknown_activation(const Json& config) {
  const std::string act = get<std::string>(config, "hidden_act").value_or("silu");
  if (act != "silu")
    throw Error(ErrorKind::kUnsupported,
                fmt::format("config.json: hidden_act '{}' is not supported yet; supported: silu", act));
}

ModelConfig config_from_gguf(const ModelFile& file) {
  const Metadata& meta = file.metadata();
  const std::string& arch = meta.require_text("general.architecture");
  const auto families = all_families();
  const auto family = std::find_if(families.begin(), families.end(), [&](const Family& f) { return f.gguf == arch; });
  if (family == families.end()) unknown_architecture(arch, &Family::gguf);
  const auto key = [&](std::string_view suffix) { return fmt::format("{}.{}", arch, suffix); };
  if (meta.integer(key("expert_count")).value_or(0) > 0) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: mixture of experts ({} experts) is not supported yet", arch,
                                                     *meta.integer(key("expert_count"))));
  }
  for (const char* suffix : {"feed_forward_length", "attention.head_count", "attention.head_count_kv"}) {
    if (meta.is_array(key(suffix)))
      throw Error(ErrorKind::kUnsupported, fmt::format("{} per layer is not supported yet", key(suffix)));
  }
  ModelConfig c;
  c.architecture = arch;
  c.hidden_size = meta.require_integer(key("embedding_length"));
  c.intermediate_size = meta.require_integer(key("feed_forward_length"));
  c.num_hidden_layers = meta.require_integer(key("block_count"));
  c.num_attention_heads = meta.require_integer(key("attention.head_count"));
  c.num_key_value_heads = meta.integer(key("attention.head_count_kv")).value_or(c.num_attention_heads);
  c.head_dim = meta.integer(key("attention.key_length"))
                   .value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  if (meta.integer(key("attention.value_length")).value_or(c.head_dim) != c.head_dim) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: keys and values of different length are not supported yet", arch));
  }
  c.max_position_embeddings = meta.require_integer(key("context_length"));
  c.rms_norm_eps = static_cast<float>(meta.number(key("attention.layer_norm_rms_epsilon")).value_or(1e-5));
  const TensorInfo* embedding = file.find("token_embd.weight");
  c.vocab_size = embedding != nullptr && embedding->shape.size() == 2 ? embedding->shape[0]
                                                                      : meta.integer(key("vocab_size")).value_or(0);
  c.tie_word_embeddings = file.find("output.weight") == nullptr;
  c.rope.theta = meta.number(key("rope.freq_base")).value_or(10000);
  c.rope.dims = meta.integer(key("rope.dimension_count")).value_or(c.head_dim);
  if (const std::string* type = meta.text(key("rope.scaling.type")))
    c.rope.scaling = scaling_named(*type, key("rope.scaling.type"));
  c.rope.factor = meta.number(key("rope.scaling.factor")).value_or(1);
  c.rope.original_max_position_embeddings =
      meta.integer(key("rope.scaling.original_context_length")).value_or(c.max_position_embeddings);
  c.rope.beta_fast = meta.number(key("rope.scaling.yarn_beta_fast")).value_or(32);
  c.rope.beta_slow = meta.number(key("rope.scaling.yarn_beta_slow")).value_or(1);
  if (const auto factor =
          meta.number(key("rope.scaling.attn_factor"))) {  // multiplies YaRN's own; config.json replaces it
    c.rope.attention_factor = *factor * yarn_magnitude(c.rope.factor);
  }
  c.rope_divisors_in_file = file.find("rope_freqs.weight") != nullptr;
  c.attention_qkv_bias = file.find("blk.0.attn_q.bias") != nullptr;
  c.attention_output_bias = file.find("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = file.find("blk.0.ffn_down.bias") != nullptr;
  c.validate();
  c.window.assign(static_cast<std::size_t>(c.num_hidden_layers),
                  meta.integer(key("attention.sliding_window")).value_or(0));
  family->adjust_gguf(file, c);
  c.validate();
  return c;
}

}  // namespace

ModelConfig config_from_json(const Json& outer) {
  if (!outer.is_object()) throw Error(ErrorKind::kInput, "config.json: expected an object");
  const Json& config = outer.contains("text_config") && outer["text_config"].is_object() ? outer["text_config"] : outer;
  const auto architectures = outer.find("architectures");
  if (architectures == outer.end() || !architectures->is_array() || architectures->empty() ||
      !(*architectures)[0].is_string()) {
    throw Error(ErrorKind::kUnsupported,
                "config.json: no 'architectures'; Jericho reads the configurations of Hugging Face transformers");
  }
  const std::string arch = (*architectures)[0].get<std::string>();
  const auto families = all_families();
  const auto family =
      std::find_if(families.begin(), families.end(), [&](const Family& f) { return f.hugging_face == arch; });
  if (family == families.end()) unknown_architecture(arch, &Family::hugging_face);
  if (const auto quantized = config.find("quantization_config"); quantized != config.end() && !quantized->is_null()) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format(
            "config.json: a checkpoint quantized with '{}' is not supported yet; use the float checkpoint or a GGUF",
            get<std::string>(*quantized, "quant_method").value_or("?")));
  }
  refuse_unknown_activation(config);
  ModelConfig c;
  c.architecture = arch;
  c.hidden_size = require(config, "hidden_size");
  c.intermediate_size = require(config, "intermediate_size");
  c.num_hidden_layers = require(config, "num_hidden_layers");
  c.num_attention_heads = require(config, "num_attention_heads");
  c.num_key_value_heads = get<Index>(config, "num_key_value_heads").value_or(c.num_attention_heads);
  c.head_dim =
      get<Index>(config, "head_dim").value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.vocab_size = require(config, "vocab_size");
  c.max_position_embeddings = get<Index>(config, "max_position_embeddings").value_or(2048);
  c.rms_norm_eps = static_cast<float>(get<double>(config, "rms_norm_eps").value_or(1e-6));
  c.tie_word_embeddings = get<bool>(config, "tie_word_embeddings").value_or(false);
  c.attention_qkv_bias = c.attention_output_bias = get<bool>(config, "attention_bias").value_or(false);
  c.mlp_bias = get<bool>(config, "mlp_bias").value_or(false);
  read_rope(config, c);
  c.validate();
  c.window.assign(static_cast<std::size_t>(c.num_hidden_layers), 0);
  family->adjust(config, c);
  c.validate();
  return c;
}

ModelConfig read_config(const ModelFile& file) {
  if (file.format() == ModelFormat::kGguf) return config_from_gguf(file);
  ModelConfig config = config_from_json(file.config());
  // The files decide what is shared: some say untied without a head, some tied with one.
  config.tie_word_embeddings = file.find("lm_head.weight") == nullptr;
  return config;
}

}  // namespace jericho
