// Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671; arXiv:2412.15115): biases on q, k and v, none on the output. Qwen3
// (arXiv:2505.09388): no biases, RMSNorm on each head of q and k before RoPE, a head_dim of its own. The mixtures of
// experts of both: Qwen2's (Qwen1.5-MoE) has a gated shared expert, Qwen3's renormalises the weights instead; layers
// that are listed, or between the sparse steps, stay dense. Half-split rotation in every format.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "models/families.h"

namespace jericho {
namespace {

// Layers from max_window_layers on see a window, and only where use_sliding_window says so.
void read_window(const nlohmann::json& config, ModelConfig& c) {
  if (!get<bool>(config, "use_sliding_window").value_or(false)) return;
  const auto window = get<Index>(config, "sliding_window");
  if (!window) return;
  constexpr Index kDefault = 28;  // of transformers
  const Index first = std::max<Index>(0, get<Index>(config, "max_window_layers").value_or(kDefault));
  for (Index layer = first; layer < c.num_hidden_layers; ++layer)
    c.layers[static_cast<std::size_t>(layer)].window = *window;
}

ModelConfig qwen2_from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.attention_qkv_bias = true;
  c.attention_output_bias = false;
  read_window(config, c);
  return c;
}

ModelConfig qwen3_from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.qk_norm = QkNorm::kHead;
  read_window(config, c);
  return c;
}

ModelConfig qwen2_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  c.attention_qkv_bias = true;
  return c;
}

ModelConfig qwen3_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  c.qk_norm = QkNorm::kHead;
  return c;
}

void read_experts(const nlohmann::json& config, ModelConfig& c) {
  c.moe.experts = require(config, "num_experts");
  c.moe.experts_per_token = require(config, "num_experts_per_tok");
  c.moe.intermediate_size = require(config, "moe_intermediate_size");
  const Index step = get<Index>(config, "decoder_sparse_step").value_or(1);
  const auto dense = config.value("mlp_only_layers", nlohmann::json::array());
  if (!dense.is_array()) wrong_type("mlp_only_layers", dense);
  for (Index layer = 0; layer < c.num_hidden_layers; ++layer) {
    const bool listed = std::find(dense.begin(), dense.end(), layer) != dense.end();
    if (!listed && step > 0 && (layer + 1) % step == 0)
      c.layers[static_cast<std::size_t>(layer)].feed_forward = FeedForward::kExperts;
  }
}

void read_experts(const GgufKeys& keys, ModelConfig& c) {
  c.moe.experts = keys.require_integer("expert_count");
  c.moe.experts_per_token = keys.require_integer("expert_used_count");
  c.moe.intermediate_size = keys.require_integer("expert_feed_forward_length");
  for (Index layer = 0; layer < c.num_hidden_layers; ++layer) {
    if (keys.file().find(fmt::format("blk.{}.ffn_gate.weight", layer)) == nullptr)
      c.layers[static_cast<std::size_t>(layer)].feed_forward = FeedForward::kExperts;
  }
}

ModelConfig qwen2_moe_from_json(const nlohmann::json& config) {
  ModelConfig c = qwen2_from_json(config);
  read_experts(config, c);
  c.moe.normalize = get<bool>(config, "norm_topk_prob").value_or(false);
  c.moe.shared_intermediate_size = require(config, "shared_expert_intermediate_size");
  c.moe.shared_gate = true;
  return c;
}

ModelConfig qwen3_moe_from_json(const nlohmann::json& config) {
  ModelConfig c = qwen3_from_json(config);
  read_experts(config, c);
  c.moe.normalize = get<bool>(config, "norm_topk_prob").value_or(true);
  return c;
}

ModelConfig qwen2_moe_from_gguf(const GgufKeys& keys) {
  ModelConfig c = qwen2_from_gguf(keys);
  read_experts(keys, c);
  c.moe.normalize = keys.boolean("expert_weights_norm").value_or(false);
  c.moe.shared_intermediate_size = keys.require_integer("expert_shared_feed_forward_length");
  c.moe.shared_gate = true;
  return c;
}

ModelConfig qwen3_moe_from_gguf(const GgufKeys& keys) {
  ModelConfig c = qwen3_from_gguf(keys);
  read_experts(keys, c);
  c.moe.normalize = keys.boolean("expert_weights_norm").value_or(true);
  return c;
}

// The counterpart of read_window().
void windows_to_json(const ModelConfig& c, nlohmann::json& out) {
  const auto first =
      std::find_if(c.layers.begin(), c.layers.end(), [](const LayerConfig& layer) { return layer.window > 0; });
  out["use_sliding_window"] = first != c.layers.end();
  out["max_window_layers"] = static_cast<Index>(first - c.layers.begin());
}

void experts_to_json(const ModelConfig& c, nlohmann::json& out) {
  windows_to_json(c, out);
  out["num_experts"] = c.moe.experts;
  out["num_experts_per_tok"] = c.moe.experts_per_token;
  out["moe_intermediate_size"] = c.moe.intermediate_size;
  out["norm_topk_prob"] = c.moe.normalize;
  if (c.moe.shared_intermediate_size > 0) out["shared_expert_intermediate_size"] = c.moe.shared_intermediate_size;
  out["mlp_only_layers"] = nlohmann::json::array();
  for (Index layer = 0; layer < c.num_hidden_layers; ++layer) {
    if (c.layers[static_cast<std::size_t>(layer)].feed_forward == FeedForward::kDense)
      out["mlp_only_layers"].push_back(layer);
  }
}

constexpr std::array<Family, 4> kFamilies = {
    {{"Qwen2ForCausalLM", "qwen2", qwen2_from_json, qwen2_from_gguf, "qwen2", nullptr, windows_to_json},
     {"Qwen3ForCausalLM", "qwen3", qwen3_from_json, qwen3_from_gguf, "qwen3", nullptr, windows_to_json},
     {"Qwen2MoeForCausalLM", "qwen2moe", qwen2_moe_from_json, qwen2_moe_from_gguf, "qwen2_moe", nullptr,
      experts_to_json},
     {"Qwen3MoeForCausalLM", "qwen3moe", qwen3_moe_from_json, qwen3_moe_from_gguf, "qwen3_moe", nullptr,
      experts_to_json}}};

}  // namespace

std::span<const Family> qwen_families() { return kFamilies; }

}  // namespace jericho
