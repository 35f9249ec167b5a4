// Mixtral (Jiang et al. 2024, arXiv:2401.04088): Mistral with experts in place of every feed-forward, of which each
// token uses two. Their weights are renormalised. In GGUF it is a "llama" with experts, which llama.cc passes on to
// here.
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

void add_experts(ModelConfig& c, Index experts, Index experts_per_token) {
  c.moe.experts = experts;
  c.moe.experts_per_token = experts_per_token;
  c.moe.normalize = true;
  c.moe.intermediate_size = c.intermediate_size;
  for (LayerConfig& layer : c.layers) layer.feed_forward = FeedForward::kExperts;
  WeightNames& names = c.hugging_face_names;
  names.router = "block_sparse_moe.gate.weight";
  names.expert_gate = "block_sparse_moe.experts.{}.w1.weight";
  names.expert_up = "block_sparse_moe.experts.{}.w3.weight";
  names.expert_down = "block_sparse_moe.experts.{}.w2.weight";
  names.stacked_gate_up = names.stacked_down = "";
}

ModelConfig mixtral_from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.interleaved_qk_rows = true;
  for (LayerConfig& layer : c.layers) layer.window = get<Index>(config, "sliding_window").value_or(0);
  add_experts(c, get<Index>(config, "num_local_experts").value_or(8),
              get<Index>(config, "num_experts_per_tok").value_or(2));
  return c;
}

bool has_experts(const ModelConfig& c) { return c.moe.experts > 0; }

void to_json(const ModelConfig& c, nlohmann::json& out) {
  out["num_local_experts"] = c.moe.experts;
  out["num_experts_per_tok"] = c.moe.experts_per_token;
}

}  // namespace

ModelConfig mixtral_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  c.interleaved_qk_rows = true;
  add_experts(c, keys.require_integer("expert_count"), keys.require_integer("expert_used_count"));
  return c;
}

std::span<const Family> mixtral_families() {
  static constexpr std::array<Family, 1> kFamilies = {
      {{"MixtralForCausalLM", "llama", mixtral_from_json, mixtral_from_gguf, "mixtral", has_experts, to_json}}};
  return kFamilies;
}

}  // namespace jericho
