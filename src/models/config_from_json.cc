// The keys of transformers' config.json for a Llama-like decoder: see config_reading.h.
#include <fmt/format.h>

#include "base/error.h"
#include "models/config_reading.h"
#include "models/rope.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

Activation activation_named(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "relu2") return Activation::kRelu2;
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("config.json: hidden_act '{}' is not supported yet; supported: silu, gelu_pytorch_tanh, relu2",
                  name));
}

std::vector<double> factors(const Json& parameters, const char* key) {
  const auto list = parameters.find(key);
  if (list == parameters.end() || !list->is_array())
    throw Error(ErrorKind::kInput, fmt::format("config.json: longrope needs a list '{}'", key));
  std::vector<double> values;
  for (const Json& value : *list) {
    if (!value.is_number()) wrong_type(key, value);
    values.push_back(value.get<double>());
  }
  return values;
}

// Within what can be calculated with; validate() knows what can be.
bool is_size(Index value) { return value >= 1 && value < Index{1} << 31; }

}  // namespace

void wrong_type(const char* key, const Json& value) {
  throw Error(ErrorKind::kInput, fmt::format("config.json: '{}' is {}, which is of the wrong type", key, value.dump()));
}

void not_supported(const std::string& what) { throw Error(ErrorKind::kUnsupported, what + " is not supported yet"); }

Index require(const Json& config, const char* key) {
  const auto value = get<Index>(config, key);
  if (!value) throw Error(ErrorKind::kInput, fmt::format("config.json: '{}' is missing", key));
  return *value;
}

Index checked_layers(Index layers) {
  if (layers < 1 || layers > 4096)
    throw Error(ErrorKind::kInput, fmt::format("num_hidden_layers is {}, expected 1 to 4096", layers));
  return layers;
}

RopeScaling scaling_named(const std::string& type, const std::string& where) {
  if (type == "default" || type == "none" || type == "mrope") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  if (type == "longrope" || type == "su") return RopeScaling::kLongRope;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: rope scaling '{}' is not supported yet; supported: linear, llama3, yarn, longrope",
                          where, type));
}

void read_rope_parameters(const Json& parameters, Index max_position_embeddings, RopeConfig& rope) {
  for (const auto& [key, value] : parameters.items()) {
    if (value.is_object()) not_supported(fmt::format("config.json: rope_parameters per layer type ('{}')", key));
  }
  rope.theta = get<double>(parameters, "rope_theta").value_or(rope.theta);
  const auto type =
      get<std::string>(parameters, "rope_type").value_or(get<std::string>(parameters, "type").value_or("default"));
  rope.scaling = scaling_named(type, "config.json");
  rope.factor = get<double>(parameters, "factor").value_or(1);
  rope.low_freq_factor = get<double>(parameters, "low_freq_factor").value_or(rope.low_freq_factor);
  rope.high_freq_factor = get<double>(parameters, "high_freq_factor").value_or(rope.high_freq_factor);
  rope.beta_fast = get<double>(parameters, "beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = get<double>(parameters, "beta_slow").value_or(rope.beta_slow);
  rope.truncate = get<bool>(parameters, "truncate").value_or(true);
  rope.attention_factor = get<double>(parameters, "attention_factor");
  const double mscale = get<double>(parameters, "mscale").value_or(0);
  const double mscale_all_dim = get<double>(parameters, "mscale_all_dim").value_or(0);
  if (rope.scaling == RopeScaling::kYarn && !rope.attention_factor && mscale != 0 && mscale_all_dim != 0)
    rope.attention_factor = yarn_magnitude(rope.factor, mscale) / yarn_magnitude(rope.factor, mscale_all_dim);
  rope.original_max_position_embeddings =
      get<Index>(parameters, "original_max_position_embeddings")
          .value_or(rope.original_max_position_embeddings > 0 ? rope.original_max_position_embeddings
                                                              : max_position_embeddings);
  if (rope.scaling != RopeScaling::kLongRope) return;
  rope.short_factor = factors(parameters, "short_factor");
  rope.long_factor = factors(parameters, "long_factor");
  if (!get<double>(parameters, "factor") && rope.original_max_position_embeddings > 0) {
    rope.factor =
        static_cast<double>(max_position_embeddings) / static_cast<double>(rope.original_max_position_embeddings);
  }
}

RopeConfig rope_from_json(const Json& config, Index head_dim, Index max_position_embeddings) {
  RopeConfig rope;
  rope.theta = get<double>(config, "rope_theta").value_or(rope.theta);
  rope.original_max_position_embeddings = get<Index>(config, "original_max_position_embeddings").value_or(0);
  double rotated = get<double>(config, "partial_rotary_factor").value_or(1.0);
  const Json* parameters = nullptr;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const auto member = config.find(key); member != config.end() && member->is_object()) parameters = &*member;
  }
  if (parameters != nullptr) rotated = get<double>(*parameters, "partial_rotary_factor").value_or(rotated);
  rope.dims = static_cast<Index>(static_cast<double>(head_dim) * rotated);
  if (parameters != nullptr) read_rope_parameters(*parameters, max_position_embeddings, rope);
  return rope;
}

std::optional<std::vector<double>> numbers_from_json(const Json& config, const char* key, std::size_t count) {
  const auto list = config.find(key);
  if (list == config.end() || list->is_null()) return std::nullopt;
  if (!list->is_array() || list->size() != count) wrong_type(key, *list);
  std::vector<double> values;
  for (const Json& value : *list) {
    if (!value.is_number()) wrong_type(key, *list);
    values.push_back(value.get<double>());
  }
  return values;
}

Index dt_rank_from_json(const Json& config, const char* key, Index hidden_size) {
  const auto rank = config.find(key);
  const bool automatic = rank == config.end() || rank->is_null() || (rank->is_string() && *rank == "auto");
  return automatic ? checked_quotient(hidden_size, 16) : require(config, key);
}

Index checked_product(Index a, Index b) { return is_size(a) && is_size(b) ? a * b : 0; }

Index checked_quotient(Index a, Index b) { return is_size(a) && is_size(b) ? ceil_div(a, b) : 0; }

void name_state_space(WeightNames& n, const std::string& prefix) {
  n.ssm_in = prefix + ".in_proj";
  n.ssm_x = prefix + ".x_proj";
  n.ssm_dt = prefix + ".dt_proj";
  n.ssm_out = prefix + ".out_proj";
  n.ssm_conv = prefix + ".conv1d";
  n.ssm_a = prefix + ".A_log";
  n.ssm_d = prefix + ".D";
  n.ssm_norm = prefix + ".norm.weight";
  n.ssm_dt_bias = prefix + ".dt_bias";
}

ModelConfig skeleton_from_json(const Json& config) {
  ModelConfig c;
  c.hidden_size = require(config, "hidden_size");
  c.num_hidden_layers = checked_layers(require(config, "num_hidden_layers"));
  c.layers.assign(static_cast<std::size_t>(c.num_hidden_layers), {});
  c.vocab_size = require(config, "vocab_size");
  c.max_position_embeddings = get<Index>(config, "max_position_embeddings").value_or(2048);
  c.rms_norm_eps = static_cast<float>(get<double>(config, "rms_norm_eps").value_or(1e-6));
  c.tie_word_embeddings = get<bool>(config, "tie_word_embeddings").value_or(false);
  const auto activation = get<std::string>(config, "hidden_activation");  // Gemma's word wins over hidden_act
  c.activation = activation_named(activation.value_or(get<std::string>(config, "hidden_act").value_or("silu")));
  return c;
}

ModelConfig decoder_from_json(const Json& config) {
  ModelConfig c = skeleton_from_json(config);
  c.intermediate_size = require(config, "intermediate_size");
  c.num_attention_heads = require(config, "num_attention_heads");
  c.num_key_value_heads = get<Index>(config, "num_key_value_heads").value_or(c.num_attention_heads);
  c.head_dim =
      get<Index>(config, "head_dim").value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.attention_qkv_bias = c.attention_output_bias = get<bool>(config, "attention_bias").value_or(false);
  c.mlp_bias = get<bool>(config, "mlp_bias").value_or(false);
  c.rope = rope_from_json(config, c.head_dim, c.max_position_embeddings);
  return c;
}

}  // namespace jericho
