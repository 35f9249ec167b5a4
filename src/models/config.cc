// What a configuration must satisfy before anything is computed from it.
#include "models/config.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/attention.h"
#include "kernels/state_space.h"

namespace jericho {
namespace {

template <class Expect>
void validate_rope(const RopeConfig& rope, Index head_dim, const Expect& expect) {
  expect(rope.dims >= 2 && rope.dims <= head_dim && rope.dims % 2 == 0,
         fmt::format("{} rotary dimensions do not fit a head of {}", rope.dims, head_dim));
  expect(std::isfinite(rope.theta) && rope.theta >= 1,
         fmt::format("rope_theta is {}, expected at least 1", rope.theta));
  expect(std::isfinite(rope.factor) && rope.factor > 0,
         fmt::format("rope scaling factor is {}, expected above 0", rope.factor));
  const bool scaled = rope.scaling == RopeScaling::kLlama3 || rope.scaling == RopeScaling::kYarn ||
                      rope.scaling == RopeScaling::kLongRope;
  expect(!scaled || rope.original_max_position_embeddings > 0,
         "rope scaling needs original_max_position_embeddings, which is missing");
  if (rope.scaling != RopeScaling::kLongRope || rope.factors_in_file) return;
  for (const auto& factors : {rope.short_factor, rope.long_factor}) {
    expect(static_cast<Index>(factors.size()) == rope.dims / 2,
           fmt::format("longrope has {} factors for {} rotary dimensions, expected one per pair", factors.size(),
                       rope.dims));
    for (const double factor : factors)
      expect(std::isfinite(factor) && factor > 0, fmt::format("a longrope factor is {}, expected above 0", factor));
  }
}

template <class InRange, class Expect>
void validate_moe(const MoeConfig& m, const InRange& in_range, const Expect& expect) {
  in_range("the number of experts", m.experts, 1 << 12);
  in_range("experts per token", m.experts_per_token, m.experts);
  in_range("the size of an expert", m.intermediate_size, 1 << 22);
  expect(
      m.shared_intermediate_size >= 0 && m.shared_intermediate_size <= 1 << 22,
      fmt::format("the size of the shared expert is {}, expected 0 (none) to {}", m.shared_intermediate_size, 1 << 22));
  in_range("expert groups", m.groups, m.experts);
  in_range("expert groups per token", m.topk_groups, m.groups);
  expect(m.experts % m.groups == 0, fmt::format("{} experts are not {} equal groups", m.experts, m.groups));
  expect(m.experts / m.groups * m.topk_groups >= m.experts_per_token,
         fmt::format("{} of {} groups hold fewer than {} experts", m.topk_groups, m.groups, m.experts_per_token));
  expect(std::isfinite(m.scale), fmt::format("the scale of the experts' weights is {}", m.scale));
}

template <class InRange, class Expect>
void validate_state_space(const StateSpaceConfig& s, StateSpace kind, const InRange& in_range, const Expect& expect) {
  if (kind == StateSpace::kNone) return;
  in_range("the inner size of the state space", s.inner_size, 1 << 22);
  in_range("the state size", s.state_size, 1 << 12);
  in_range("conv_kernel", s.conv_kernel, kMaxConvKernel);
  expect(std::isfinite(s.norm_eps) && s.norm_eps >= 0,
         fmt::format("the eps of the state space's norms is {}, expected 0 or more", s.norm_eps));
  expect(s.dt_min >= 0 && s.dt_max >= s.dt_min,
         fmt::format("time steps are limited to {} to {}, expected an interval above 0", s.dt_min, s.dt_max));
  if (kind == StateSpace::kMamba) {
    in_range("time_step_rank", s.dt_rank, 1 << 16);
    return;
  }
  in_range("the heads of the state space", s.heads, s.inner_size);
  in_range("the groups of the state space", s.groups, s.heads);
  expect(s.inner_size % s.heads == 0, fmt::format("an inner size of {} is not {} equal heads", s.inner_size, s.heads));
  expect(s.heads % s.groups == 0, fmt::format("{} heads are not {} equal groups", s.heads, s.groups));
  expect(s.inner_size % s.groups == 0, fmt::format("an inner size of {} is not {} groups", s.inner_size, s.groups));
}

}  // namespace

void ModelConfig::validate() const {
  const auto expect = [&](bool holds, const std::string& message) {
    if (!holds) throw Error(ErrorKind::kInput, fmt::format("configuration of {}: {}", architecture, message));
  };
  const auto in_range = [&](std::string_view field, Index value, Index highest) {
    expect(value >= 1 && value <= highest, fmt::format("{} is {}, expected 1 to {}", field, value, highest));
  };
  in_range("hidden_size", hidden_size, 1 << 20);
  in_range("num_hidden_layers", num_hidden_layers, 4096);
  in_range("vocab_size", vocab_size, 1 << 24);
  in_range("max_position_embeddings", max_position_embeddings, Index{1} << 31);
  expect(std::isfinite(rms_norm_eps) && rms_norm_eps >= 0,
         fmt::format("rms_norm_eps is {}, expected 0 or more", rms_norm_eps));
  in_range("layer_passes", layer_passes, 16);
  expect(static_cast<Index>(layers.size()) == num_hidden_layers,
         fmt::format("{} layers are described, num_hidden_layers is {}", layers.size(), num_hidden_layers));
  for (const LayerConfig& layer : layers) {
    expect(layer.window >= 0, fmt::format("sliding window is {}, expected 0 (none) or more", layer.window));
    expect(layer.attention || layer.state_space != StateSpace::kNone,
           "a layer has neither attention nor a state space");
  }
  const auto some = [&](auto holds) { return std::any_of(layers.begin(), layers.end(), holds); };
  if (some([](const LayerConfig& l) { return l.feed_forward == FeedForward::kDense; }))
    in_range("intermediate_size", intermediate_size, 1 << 22);
  if (some([](const LayerConfig& l) { return l.attention; })) {
    in_range("num_attention_heads", num_attention_heads, 1 << 14);
    in_range("num_key_value_heads", num_key_value_heads, 1 << 14);
    in_range("head_dim", head_dim, 512);
    expect(num_attention_heads % num_key_value_heads == 0,
           fmt::format("{} attention heads cannot share {} key-value heads evenly", num_attention_heads,
                       num_key_value_heads));
  }
  const Index rotated_head = latent.kv_lora_rank > 0 ? latent.rope_dim : head_dim;
  if (some([](const LayerConfig& l) { return l.attention && l.rope == LayerRope::kGlobal; }))
    validate_rope(rope, rotated_head, expect);
  if (some([](const LayerConfig& l) { return l.attention && l.rope == LayerRope::kLocal; })) {
    expect(local_rope.has_value(), "a layer uses the local rope, which is missing");
    validate_rope(*local_rope, rotated_head, expect);
  }
  if (some([](const LayerConfig& l) { return l.feed_forward == FeedForward::kExperts; }))
    validate_moe(moe, in_range, expect);
  if (latent.kv_lora_rank != 0) {
    in_range("kv_lora_rank", latent.kv_lora_rank, 1 << 14);
    in_range("qk_nope_head_dim", latent.nope_dim, 1 << 12);
    in_range("qk_rope_head_dim", latent.rope_dim, 1 << 12);
    in_range("v_head_dim", latent.value_dim, 1 << 12);
    in_range("kv_lora_rank + qk_rope_head_dim", latent.kv_lora_rank + latent.rope_dim, kMaxKeyWidth);
    expect(latent.q_lora_rank >= 0 && latent.q_lora_rank <= 1 << 16,
           fmt::format("q_lora_rank is {}, expected 0 to {}", latent.q_lora_rank, 1 << 16));
  }
  for (const LayerConfig& layer : layers) validate_state_space(state_space, layer.state_space, in_range, expect);
  const auto finite = [&](std::string_view field, float value) {
    expect(std::isfinite(value), fmt::format("{} is {}, expected a finite number", field, value));
  };
  finite("attention_scale", attention_scale);
  finite("embedding_scale", embedding_scale);
  finite("residual_scale", residual_scale);
  finite("logit_scale", logit_scale);
  for (const float cap : {attention_softcap, final_softcap})
    expect(std::isfinite(cap) && cap >= 0, fmt::format("soft-cap is {}, expected 0 (none) or more", cap));
}

Index ModelConfig::attention_layers() const {
  return layer_passes * std::count_if(layers.begin(), layers.end(), [](const LayerConfig& l) { return l.attention; });
}

Index ModelConfig::state_space_layers() const {
  return layer_passes * std::count_if(layers.begin(), layers.end(),
                                      [](const LayerConfig& l) { return l.state_space != StateSpace::kNone; });
}

}  // namespace jericho
