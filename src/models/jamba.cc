// Jamba (Lieber et al. 2024, arXiv:2403.19887): one layer in eight attends, without rotation, the others are Mamba with
// norms on dt, B and C; every other feed-forward is a mixture of experts.
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

void name_weights(ModelConfig& c) {
  WeightNames& n = c.hugging_face_names;
  n.norm = "model.final_layernorm.weight";
  n.feed_forward_norm = "pre_ff_layernorm.weight";
  n.gate = "feed_forward.gate_proj";
  n.up = "feed_forward.up_proj";
  n.down = "feed_forward.down_proj";
  n.router = "feed_forward.router.weight";
  n.expert_gate = "feed_forward.experts.{}.gate_proj.weight";
  n.expert_up = "feed_forward.experts.{}.up_proj.weight";
  n.expert_down = "feed_forward.experts.{}.down_proj.weight";
  n.stacked_gate_up = n.stacked_down = "";
  name_state_space(n, "mamba");
  n.ssm_dt_norm = "mamba.dt_layernorm.weight";
  n.ssm_b_norm = "mamba.b_layernorm.weight";
  n.ssm_c_norm = "mamba.c_layernorm.weight";
}

// Every layer's kind; layer(i) says whether it attends and whether it has experts.
template <class Layer>
void set_layers(ModelConfig& c, Layer layer) {
  for (Index i = 0; i < c.num_hidden_layers; ++i) {
    const auto [attends, experts] = layer(i);
    c.layers[static_cast<std::size_t>(i)] = {.attention = attends,
                                             .state_space = attends ? StateSpace::kNone : StateSpace::kMamba,
                                             .feed_forward = experts ? FeedForward::kExperts : FeedForward::kDense,
                                             .rope = LayerRope::kNone};
  }
  name_weights(c);
}

ModelConfig jamba_from_json(const Json& config) {
  ModelConfig c = decoder_from_json(config);
  if (c.activation != Activation::kSilu) not_supported("config.json: Jamba with another hidden_act than silu");
  if (get<Index>(config, "sliding_window")) not_supported("config.json: Jamba with a sliding_window");
  c.max_position_embeddings = get<Index>(config, "max_position_embeddings").value_or(262144);
  StateSpaceConfig& s = c.state_space;
  s.inner_size = checked_product(get<Index>(config, "mamba_expand").value_or(2), c.hidden_size);
  s.state_size = get<Index>(config, "mamba_d_state").value_or(16);
  s.conv_kernel = get<Index>(config, "mamba_d_conv").value_or(4);
  s.dt_rank = dt_rank_from_json(config, "mamba_dt_rank", c.hidden_size);
  s.conv_bias = get<bool>(config, "mamba_conv_bias").value_or(true);
  s.projection_bias = get<bool>(config, "mamba_proj_bias").value_or(false);
  s.dt_b_c_norm = s.dt_b_c_weights = true;
  s.norm_eps = c.rms_norm_eps;
  c.moe.experts = get<Index>(config, "num_experts").value_or(16);
  c.moe.experts_per_token = get<Index>(config, "num_experts_per_tok").value_or(2);
  c.moe.intermediate_size = c.intermediate_size;
  const auto schedule = [&](const char* period_key, const char* offset_key, Index period, Index offset) {
    period = get<Index>(config, period_key).value_or(period);
    offset = get<Index>(config, offset_key).value_or(offset);
    if (period < 1 || offset < 0 || offset >= period) {
      throw Error(ErrorKind::kInput,
                  fmt::format("config.json: '{}' is {} of a period of {}, expected one of its layers", offset_key,
                              offset, period));
    }
    return [=](Index layer) { return layer % period == offset; };
  };
  const auto attends = schedule("attn_layer_period", "attn_layer_offset", 8, 4);
  const auto has_experts = schedule("expert_layer_period", "expert_layer_offset", 2, 1);
  set_layers(c, [&](Index i) { return std::pair(attends(i), c.moe.experts > 1 && has_experts(i)); });
  return c;
}

// Heads of the layers that attend; 0 stands for a layer that does not.
Index kv_heads_of(const GgufKeys& keys, const std::vector<Index>& per_layer) {
  Index heads = 0;
  for (const Index layer : per_layer) {
    if (layer != 0 && heads != 0 && layer != heads)
      not_supported(keys.key("attention.head_count_kv") + " of different sizes");
    heads = std::max(heads, layer);
  }
  return heads;
}

ModelConfig jamba_from_gguf(const GgufKeys& keys) {
  ModelConfig c = skeleton_from_gguf(keys);
  const std::vector<Index> kv_heads = keys.file().metadata().require_integers(keys.key("attention.head_count_kv"));
  if (static_cast<Index>(kv_heads.size()) != c.num_hidden_layers) {
    throw Error(ErrorKind::kInput, fmt::format("{} has {} entries for {} layers", keys.key("attention.head_count_kv"),
                                               kv_heads.size(), c.num_hidden_layers));
  }
  c.intermediate_size = keys.require_integer("feed_forward_length");
  c.num_attention_heads = keys.require_integer("attention.head_count");
  c.num_key_value_heads = kv_heads_of(keys, kv_heads);
  c.head_dim = keys.integer("attention.key_length")
                   .value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.state_space = state_space_from_gguf(keys, StateSpace::kMamba);
  c.state_space.norm_eps = c.rms_norm_eps;
  c.moe.experts = keys.integer("expert_count").value_or(0);
  c.moe.experts_per_token = keys.integer("expert_used_count").value_or(0);
  c.moe.intermediate_size = c.intermediate_size;
  set_layers(c, [&](Index i) {
    return std::pair(kv_heads[static_cast<std::size_t>(i)] != 0,
                     keys.file().find(fmt::format("blk.{}.ffn_gate_inp.weight", i)) != nullptr);
  });
  return c;
}

// Writes the period and the offset that tell the layers with `trait`.
template <class Trait>
void schedule_to_json(const ModelConfig& c, const std::string& keys, Trait trait, Json& out) {
  std::vector<Index> places;
  for (Index i = 0; i < c.num_hidden_layers; ++i) {
    if (trait(c.layers[static_cast<std::size_t>(i)])) places.push_back(i);
  }
  const Index offset = places.empty() ? c.num_hidden_layers : places[0];
  const Index period = places.size() > 1 ? places[1] - places[0] : c.num_hidden_layers + 1;
  for (Index i = 0; i < c.num_hidden_layers; ++i) {
    if (trait(c.layers[static_cast<std::size_t>(i)]) != (i % period == offset))
      not_supported("config.json of Jamba: layers of a kind without a period");
  }
  out[keys + "_layer_period"] = period;
  out[keys + "_layer_offset"] = offset;
}

void jamba_to_json(const ModelConfig& c, Json& out) {
  const StateSpaceConfig& s = c.state_space;
  out["mamba_expand"] = s.inner_size / c.hidden_size;
  out["mamba_d_state"] = s.state_size;
  out["mamba_d_conv"] = s.conv_kernel;
  out["mamba_dt_rank"] = s.dt_rank;
  out["mamba_conv_bias"] = s.conv_bias;
  out["mamba_proj_bias"] = s.projection_bias;
  out["num_experts"] = c.moe.experts;
  out["num_experts_per_tok"] = c.moe.experts_per_token;
  schedule_to_json(
      c, "attn", [](const LayerConfig& l) { return l.attention; }, out);
  schedule_to_json(
      c, "expert", [](const LayerConfig& l) { return l.feed_forward == FeedForward::kExperts; }, out);
}

constexpr std::array<Family, 1> kFamilies = {
    {{"JambaForCausalLM", "jamba", jamba_from_json, jamba_from_gguf, "jamba", nullptr, jamba_to_json}}};

}  // namespace

std::span<const Family> jamba_families() { return kFamilies; }

}  // namespace jericho
