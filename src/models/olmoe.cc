// OLMoE (Muennighoff et al. 2024, arXiv:2409.02060): experts in every layer, whose weights are not renormalised;
// RMSNorm over all of q and all of k at once; where clip_qkv is set, q, k and v are clamped after it. Half-split
// rotation.
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

void finish(ModelConfig& c) {
  c.qk_norm = QkNorm::kProjection;
  for (LayerConfig& layer : c.layers) layer.feed_forward = FeedForward::kExperts;
}

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  finish(c);
  c.moe.experts = get<Index>(config, "num_experts").value_or(64);
  c.moe.experts_per_token = get<Index>(config, "num_experts_per_tok").value_or(8);
  c.moe.intermediate_size = c.intermediate_size;
  c.moe.normalize = get<bool>(config, "norm_topk_prob").value_or(false);
  if (const auto limit = get<double>(config, "clip_qkv")) c.clip_qkv = static_cast<float>(*limit);
  return c;
}

ModelConfig from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  finish(c);
  c.moe.experts = keys.require_integer("expert_count");
  c.moe.experts_per_token = keys.require_integer("expert_used_count");
  c.moe.intermediate_size = keys.integer("expert_feed_forward_length").value_or(c.intermediate_size);
  c.moe.normalize = keys.boolean("expert_weights_norm").value_or(false);
  if (const auto limit = keys.number("attention.clamp_kqv")) c.clip_qkv = static_cast<float>(*limit);
  return c;
}

void to_json(const ModelConfig& c, nlohmann::json& out) {
  out["num_experts"] = c.moe.experts;
  out["num_experts_per_tok"] = c.moe.experts_per_token;
  out["intermediate_size"] = c.moe.intermediate_size;
  out["norm_topk_prob"] = c.moe.normalize;
  if (c.clip_qkv) out["clip_qkv"] = *c.clip_qkv;
}

constexpr std::array<Family, 1> kFamilies = {
    {{"OlmoeForCausalLM", "olmoe", from_json, from_gguf, "olmoe", nullptr, to_json}}};

}  // namespace

std::span<const Family> olmoe_families() { return kFamilies; }

}  // namespace jericho
