// Falcon-H1 (Zuo et al. 2025, arXiv:2507.22448): in every layer Mamba-2 and attention read the same normalised input
// side by side, then a gated feed-forward follows; projections have fixed factors (muP), which GGUF files carry inside
// the weights.
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

void side_by_side(ModelConfig& c) {
  for (LayerConfig& layer : c.layers) layer.state_space = StateSpace::kMamba2;
  WeightNames& n = c.hugging_face_names;
  n.norm = "model.final_layernorm.weight";
  n.feed_forward_norm = "pre_ff_layernorm.weight";
  n.gate = "feed_forward.gate_proj";
  n.up = "feed_forward.up_proj";
  n.down = "feed_forward.down_proj";
  name_state_space(n, "mamba");
  c.gguf_names.feed_forward_norm = "ffn_norm";  // as llama.cpp writes it
}

Multipliers multipliers_from_json(const Json& config) {
  const auto factor = [&](const char* key) { return static_cast<float>(get<double>(config, key).value_or(1.0)); };
  const auto factors = [&](const char* key, std::size_t count) {
    return numbers_from_json(config, key, count).value_or(std::vector<double>(count, 1.0));
  };
  Multipliers m;
  m.embedding = factor("embedding_multiplier");
  m.head = factor("lm_head_multiplier");
  m.q = m.v = factor("attention_in_multiplier");
  m.k = m.q * factor("key_multiplier");
  m.attention_out = factor("attention_out_multiplier");
  const std::vector<double> mlp = factors("mlp_multipliers", 2), ssm = factors("ssm_multipliers", 5);
  m.gate = static_cast<float>(mlp[0]);
  m.down = static_cast<float>(mlp[1]);
  const float in = factor("ssm_in_multiplier");
  std::array<float*, 5> parts = {&m.ssm_z, &m.ssm_x, &m.ssm_b, &m.ssm_c, &m.ssm_dt};
  for (std::size_t i = 0; i < parts.size(); ++i) *parts[i] = in * static_cast<float>(ssm[i]);
  m.ssm_out = factor("ssm_out_multiplier");
  return m;
}

ModelConfig falcon_h1_from_json(const Json& config) {
  ModelConfig c = decoder_from_json(config);
  if (c.activation != Activation::kSilu) not_supported("config.json: Falcon-H1 with another hidden_act than silu");
  c.max_position_embeddings = get<Index>(config, "max_position_embeddings").value_or(8192);
  c.rms_norm_eps = static_cast<float>(get<double>(config, "rms_norm_eps").value_or(1e-5));
  StateSpaceConfig& s = c.state_space;
  s.inner_size = get<Index>(config, "mamba_d_ssm")
                     .value_or(checked_product(get<Index>(config, "mamba_expand").value_or(2), c.hidden_size));
  s.state_size = get<Index>(config, "mamba_d_state").value_or(256);
  s.conv_kernel = get<Index>(config, "mamba_d_conv").value_or(4);
  s.heads = get<Index>(config, "mamba_n_heads").value_or(128);
  s.groups = get<Index>(config, "mamba_n_groups").value_or(1);
  s.conv_bias = get<bool>(config, "mamba_conv_bias").value_or(true);
  s.projection_bias = get<bool>(config, "mamba_proj_bias").value_or(false);
  s.gated_norm = get<bool>(config, "mamba_rms_norm").value_or(false);
  s.norm_before_gate = get<bool>(config, "mamba_norm_before_gate").value_or(true);
  s.norm_eps = c.rms_norm_eps;
  c.multipliers = multipliers_from_json(config);
  // A factor on the input would have to pass the bias by.
  if (s.projection_bias || get<bool>(config, "projectors_bias").value_or(false) || c.attention_qkv_bias)
    not_supported("config.json: biases of the projections of Falcon-H1");
  side_by_side(c);
  return c;
}

ModelConfig falcon_h1_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  c.state_space = state_space_from_gguf(keys, StateSpace::kMamba2);
  c.state_space.norm_eps = c.rms_norm_eps;
  side_by_side(c);
  return c;
}

void falcon_h1_to_json(const ModelConfig& c, Json& out) {
  const StateSpaceConfig& s = c.state_space;
  const Multipliers& m = c.multipliers;
  out["mamba_d_ssm"] = s.inner_size;
  out["mamba_d_state"] = s.state_size;
  out["mamba_d_conv"] = s.conv_kernel;
  out["mamba_n_heads"] = s.heads;
  out["mamba_d_head"] = s.inner_size / s.heads;
  out["mamba_n_groups"] = s.groups;
  out["mamba_conv_bias"] = s.conv_bias;
  out["mamba_rms_norm"] = s.gated_norm;
  out["mamba_norm_before_gate"] = s.norm_before_gate;
  out["embedding_multiplier"] = m.embedding;
  out["lm_head_multiplier"] = m.head;
  out["attention_in_multiplier"] = m.q;
  out["key_multiplier"] = m.k / m.q;
  out["attention_out_multiplier"] = m.attention_out;
  out["mlp_multipliers"] = {m.gate, m.down};
  out["ssm_in_multiplier"] = 1.0;  // it is in the others
  out["ssm_multipliers"] = {m.ssm_z, m.ssm_x, m.ssm_b, m.ssm_c, m.ssm_dt};
  out["ssm_out_multiplier"] = m.ssm_out;
}

constexpr std::array<Family, 1> kFamilies = {{{"FalconH1ForCausalLM", "falcon-h1", falcon_h1_from_json,
                                               falcon_h1_from_gguf, "falcon_h1", nullptr, falcon_h1_to_json}}};

}  // namespace

std::span<const Family> falcon_h1_families() { return kFamilies; }

}  // namespace jericho
