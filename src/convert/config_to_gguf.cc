// Key by key: see config_to_gguf.h.
#include "convert/config_to_gguf.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/math.h"
#include "models/families.h"
#include "models/rope.h"

namespace jericho {
namespace {

class Keys {
 public:
  Keys(const std::string& architecture, GgufWriter& out) : prefix_(architecture + "."), out_(out) {}
  void integer(const char* key, Index value) { out_.set(prefix_ + key, static_cast<std::uint32_t>(value)); }
  void number(const char* key, double value) { out_.set(prefix_ + key, static_cast<float>(value)); }
  void flag(const char* key, bool value) { out_.set(prefix_ + key, value); }
  void text(const char* key, const std::string& value) { out_.set(prefix_ + key, value); }
  void integers(const char* key, std::vector<std::int32_t> values) { out_.set(prefix_ + key, std::move(values)); }
  void flags(const char* key, std::vector<bool> values) { out_.set(prefix_ + key, std::move(values)); }

 private:
  std::string prefix_;
  GgufWriter& out_;
};

void write_rope(const RopeConfig& rope, const ModelConfig& c, Keys& keys) {
  keys.integer("rope.dimension_count", rope.dims);
  keys.number("rope.freq_base", rope.theta);
  if (c.local_rope) keys.number("rope.freq_base_swa", c.local_rope->theta);
  if (rope.scaling == RopeScaling::kNone || rope.scaling == RopeScaling::kLlama3) return;
  if (rope.scaling == RopeScaling::kLongRope) {
    keys.integer("rope.scaling.original_context_length", rope.original_max_position_embeddings);
    keys.number("rope.scaling.attn_factor", RopeTable(rope).magnitude());
    return;
  }
  keys.text("rope.scaling.type", rope.scaling == RopeScaling::kLinear ? "linear" : "yarn");
  keys.number("rope.scaling.factor", rope.factor);
  if (rope.scaling != RopeScaling::kYarn) return;
  keys.integer("rope.scaling.original_context_length", rope.original_max_position_embeddings);
  keys.number("rope.scaling.yarn_beta_fast", rope.beta_fast);
  keys.number("rope.scaling.yarn_beta_slow", rope.beta_slow);
  if (c.latent.kv_lora_rank > 0 && rope.factor > 1) {  // 0.1 mscale_all_dim, which is within the scale of the logits
    const double plain = 1 / std::sqrt(static_cast<double>(c.latent.nope_dim + c.latent.rope_dim));
    const double magnitude = std::sqrt(static_cast<double>(c.attention_scale) / plain);
    keys.number("rope.scaling.yarn_log_multiplier", (magnitude - 1) / log_double(rope.factor));
  }
  if (rope.attention_factor)
    keys.number("rope.scaling.attn_factor", *rope.attention_factor / yarn_magnitude(rope.factor));
}

void write_attention(const ModelConfig& c, Keys& keys) {
  keys.integer("attention.head_count", c.num_attention_heads);
  const bool some_without =
      std::any_of(c.layers.begin(), c.layers.end(), [](const LayerConfig& l) { return !l.attention; });
  if (some_without) {  // 0 marks a layer without attention
    std::vector<std::int32_t> heads;
    for (const LayerConfig& layer : c.layers)
      heads.push_back(layer.attention ? static_cast<std::int32_t>(c.num_key_value_heads) : 0);
    keys.integers("attention.head_count_kv", heads);
  } else {
    keys.integer("attention.head_count_kv", c.latent.kv_lora_rank > 0 ? 1 : c.num_key_value_heads);
  }
  if (c.latent.kv_lora_rank > 0) {
    const LatentConfig& m = c.latent;
    keys.integer("attention.kv_lora_rank", m.kv_lora_rank);
    if (m.q_lora_rank > 0) keys.integer("attention.q_lora_rank", m.q_lora_rank);
    keys.integer("attention.key_length", m.kv_lora_rank + m.rope_dim);
    keys.integer("attention.value_length", m.kv_lora_rank);
    keys.integer("attention.key_length_mla", m.nope_dim + m.rope_dim);
    keys.integer("attention.value_length_mla", m.value_dim);
  } else {
    keys.integer("attention.key_length", c.head_dim);
    keys.integer("attention.value_length", c.head_dim);
  }
  Index window = 0;
  for (const LayerConfig& layer : c.layers) window = std::max(window, layer.window);
  if (window > 0) {
    keys.integer("attention.sliding_window", window);
    const bool some_full = std::any_of(c.layers.begin(), c.layers.end(), [](const auto& l) { return l.window == 0; });
    if (some_full) {
      std::vector<bool> pattern;
      for (const LayerConfig& layer : c.layers) pattern.push_back(layer.window > 0);
      keys.flags("attention.sliding_window_pattern", pattern);
    }
  }
  if (c.attention_softcap > 0) keys.number("attn_logit_softcapping", static_cast<double>(c.attention_softcap));
  if (c.clip_qkv) keys.number("attention.clamp_kqv", static_cast<double>(*c.clip_qkv));
  const bool turns = std::any_of(c.layers.begin(), c.layers.end(),
                                 [](const LayerConfig& l) { return l.attention && l.rope != LayerRope::kNone; });
  if (turns) write_rope(c.rope, c, keys);
}

void write_experts(const ModelConfig& c, Keys& keys) {
  const MoeConfig& m = c.moe;
  keys.integer("expert_count", m.experts);
  keys.integer("expert_used_count", m.experts_per_token);
  keys.integer("expert_feed_forward_length", m.intermediate_size);
  if (m.shared_intermediate_size > 0) {
    keys.integer("expert_shared_feed_forward_length", m.shared_intermediate_size);
    if (!m.shared_gate)
      keys.integer("expert_shared_count", std::max<Index>(1, m.shared_intermediate_size / m.intermediate_size));
  }
  keys.flag("expert_weights_norm", m.normalize);
  keys.number("expert_weights_scale", static_cast<double>(m.scale));
  keys.integer("expert_gating_func", m.gating == Gating::kSigmoid ? 2 : 1);
  if (m.groups > 1) {
    keys.integer("expert_group_count", m.groups);
    keys.integer("expert_group_used_count", m.topk_groups);
  }
  Index dense = 0;
  while (dense < c.num_hidden_layers && c.layers[static_cast<std::size_t>(dense)].feed_forward == FeedForward::kDense)
    ++dense;
  if (dense > 0) keys.integer("leading_dense_block_count", dense);
}

// Granite's words; other families' scales follow from their architecture.
void write_scales(const ModelConfig& c, Keys& keys) {
  keys.number("embedding_scale", static_cast<double>(c.embedding_scale));
  keys.number("residual_scale", static_cast<double>(c.residual_scale));
  keys.number("attention.scale", static_cast<double>(c.attention_scale));
  keys.number("logit_scale", 1 / static_cast<double>(c.logit_scale));
}

void write_state_space(const ModelConfig& c, Keys& keys) {
  const StateSpaceConfig& s = c.state_space;
  keys.integer("ssm.conv_kernel", s.conv_kernel);
  keys.integer("ssm.inner_size", s.inner_size);
  keys.integer("ssm.state_size", s.state_size);
  keys.integer("ssm.time_step_rank", s.heads > 0 ? s.heads : s.dt_rank);
  if (s.heads > 0) keys.integer("ssm.group_count", s.groups);
  if (s.heads == 0) keys.flag("ssm.dt_b_c_rms", s.dt_b_c_norm && !s.dt_b_c_weights);
}

}  // namespace

std::string gguf_architecture(const std::string& architecture) { return std::string(gguf_name(architecture)); }

void write_gguf_config(const ModelConfig& c, const std::string& architecture, GgufWriter& out) {
  Keys keys(architecture, out);
  keys.integer("context_length", c.max_position_embeddings);
  keys.integer("embedding_length", c.hidden_size);
  keys.integer("block_count", c.num_hidden_layers);
  keys.integer("feed_forward_length", c.intermediate_size);
  keys.integer("vocab_size", c.vocab_size);
  keys.number("attention.layer_norm_rms_epsilon", static_cast<double>(c.rms_norm_eps));
  if (c.attention_layers() > 0) {
    write_attention(c, keys);
  } else {
    keys.integer("attention.head_count", 0);
  }
  if (c.moe.experts > 0) write_experts(c, keys);
  if (c.state_space.inner_size > 0) write_state_space(c, keys);
  if (architecture == "granite" || architecture == "granitemoe") write_scales(c, keys);
  if (c.final_softcap > 0) keys.number("final_logit_softcapping", static_cast<double>(c.final_softcap));
}

std::vector<float> rope_divisors(const RopeConfig& rope) {
  if (rope.scaling != RopeScaling::kLlama3) return {};
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  const RopeTable scaled(rope), unscaled(plain);
  std::vector<float> divisors;
  for (std::size_t i = 0; i < scaled.frequencies().size(); ++i)
    divisors.push_back(static_cast<float>(unscaled.frequencies()[i] / scaled.frequencies()[i]));
  return divisors;
}

}  // namespace jericho
