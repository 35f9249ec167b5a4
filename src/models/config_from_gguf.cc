// The keys of llama.cpp's GGUF files for a Llama-like decoder: see config_reading.h.
#include <fmt/format.h>

#include "base/error.h"
#include "models/config_reading.h"
#include "models/rope.h"

namespace jericho {

GgufKeys::GgufKeys(const ModelFile& file)
    : file_(file), architecture_(file.metadata().require_text("general.architecture")) {}

std::string GgufKeys::key(std::string_view suffix) const { return fmt::format("{}.{}", architecture_, suffix); }
std::optional<Index> GgufKeys::integer(std::string_view suffix) const { return file_.metadata().integer(key(suffix)); }
std::optional<double> GgufKeys::number(std::string_view suffix) const { return file_.metadata().number(key(suffix)); }
std::optional<bool> GgufKeys::boolean(std::string_view suffix) const { return file_.metadata().boolean(key(suffix)); }
Index GgufKeys::require_integer(std::string_view suffix) const { return file_.metadata().require_integer(key(suffix)); }
bool GgufKeys::is_array(std::string_view suffix) const { return file_.metadata().is_array(key(suffix)); }
const std::string* GgufKeys::text(std::string_view suffix) const { return file_.metadata().text(key(suffix)); }

namespace {

// Which layers see a window, where the file says it layer by layer; a single number is a period that only some families
// know.
std::optional<std::vector<Index>> pattern_of(const GgufKeys& keys) {
  if (!keys.is_array("attention.sliding_window_pattern")) return std::nullopt;
  return keys.file().metadata().integers(keys.key("attention.sliding_window_pattern"));
}

}  // namespace

ModelConfig skeleton_from_gguf(const GgufKeys& keys) {
  ModelConfig c;
  c.hidden_size = keys.require_integer("embedding_length");
  c.num_hidden_layers = checked_layers(keys.require_integer("block_count"));
  c.layers.assign(static_cast<std::size_t>(c.num_hidden_layers), {});
  c.max_position_embeddings = keys.require_integer("context_length");
  c.rms_norm_eps = static_cast<float>(keys.number("attention.layer_norm_rms_epsilon").value_or(1e-5));
  const TensorInfo* embedding = keys.file().find("token_embd.weight");
  c.vocab_size = embedding != nullptr && embedding->shape.size() == 2 ? embedding->shape[0]
                                                                      : keys.integer("vocab_size").value_or(0);
  c.tie_word_embeddings = keys.file().find("output.weight") == nullptr;
  return c;
}

RopeConfig rope_from_gguf(const GgufKeys& keys, Index head_dim, Index max_position_embeddings) {
  RopeConfig rope;
  rope.theta = keys.number("rope.freq_base").value_or(10000);
  rope.dims = keys.integer("rope.dimension_count").value_or(head_dim);
  if (const std::string* type = keys.text("rope.scaling.type"))
    rope.scaling = scaling_named(*type, keys.key("rope.scaling.type"));
  if (rope.scaling == RopeScaling::kLongRope) not_supported(keys.architecture() + ": rope scaling 'longrope' in GGUF");
  rope.factor = keys.number("rope.scaling.factor").value_or(1);
  rope.original_max_position_embeddings =
      keys.integer("rope.scaling.original_context_length").value_or(max_position_embeddings);
  rope.beta_fast = keys.number("rope.scaling.yarn_beta_fast").value_or(32);
  rope.beta_slow = keys.number("rope.scaling.yarn_beta_slow").value_or(1);
  // It multiplies YaRN's own; the attention_factor of config.json replaces that.
  if (const auto factor = keys.number("rope.scaling.attn_factor"))
    rope.attention_factor = *factor * yarn_magnitude(rope.factor);
  return rope;
}

ModelConfig decoder_from_gguf(const GgufKeys& keys) {
  for (const char* suffix : {"feed_forward_length", "attention.head_count", "attention.head_count_kv"}) {
    if (keys.is_array(suffix)) not_supported(keys.key(suffix) + " per layer");
  }
  ModelConfig c = skeleton_from_gguf(keys);
  const ModelFile& file = keys.file();
  c.intermediate_size = keys.require_integer("feed_forward_length");
  c.num_attention_heads = keys.require_integer("attention.head_count");
  c.num_key_value_heads = keys.integer("attention.head_count_kv").value_or(c.num_attention_heads);
  c.head_dim = keys.integer("attention.key_length")
                   .value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  if (keys.integer("attention.value_length").value_or(c.head_dim) != c.head_dim)
    not_supported(keys.architecture() + ": keys and values of different length");
  c.rope = rope_from_gguf(keys, c.head_dim, c.max_position_embeddings);
  c.rope_divisors_in_file = file.find("rope_freqs.weight") != nullptr;
  c.attention_qkv_bias = file.find("blk.0.attn_q.bias") != nullptr;
  c.attention_output_bias = file.find("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = file.find("blk.0.ffn_down.bias") != nullptr;
  const auto windowed = pattern_of(keys);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    if (!windowed || i >= windowed->size() || (*windowed)[i] != 0)
      c.layers[i].window = keys.integer("attention.sliding_window").value_or(0);
  }
  return c;
}

StateSpaceConfig state_space_from_gguf(const GgufKeys& keys, StateSpace kind) {
  const ModelFile& file = keys.file();
  Index first = 0;  // a layer with a state space
  const auto tensor = [&](std::string_view name) {
    return file.find(fmt::format("blk.{}.{}", first, name)) != nullptr;
  };
  while (!tensor("ssm_in.weight") && first < 4096) ++first;
  StateSpaceConfig s;
  s.inner_size = keys.require_integer("ssm.inner_size");
  s.state_size = keys.require_integer("ssm.state_size");
  s.conv_kernel = keys.require_integer("ssm.conv_kernel");
  (kind == StateSpace::kMamba2 ? s.heads : s.dt_rank) = keys.require_integer("ssm.time_step_rank");
  if (kind == StateSpace::kMamba2) {
    s.groups = keys.integer("ssm.group_count").value_or(1);
    s.gated_norm = tensor("ssm_norm.weight");
  }
  s.conv_bias = tensor("ssm_conv1d.bias");
  s.projection_bias = tensor("ssm_in.bias");
  s.dt_b_c_weights = tensor("ssm_dt_norm.weight");
  s.dt_b_c_norm = s.dt_b_c_weights || keys.boolean("ssm.dt_b_c_rms").value_or(false);
  return s;
}

}  // namespace jericho
