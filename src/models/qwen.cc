// Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671; arXiv:2412.15115): biases on q, k and v, none on the output. Qwen3
// (arXiv:2505.09388): no biases, RMSNorm on each head of q and k before RoPE, a head_dim of its own. Half-split
// rotation in every format.
#include <algorithm>
#include <array>

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

constexpr std::array<Family, 2> kFamilies = {
    {{"Qwen2ForCausalLM", "qwen2", qwen2_from_json, qwen2_from_gguf, "qwen2"},
     {"Qwen3ForCausalLM", "qwen3", qwen3_from_json, qwen3_from_gguf, "qwen3"}}};

}  // namespace

std::span<const Family> qwen_families() { return kFamilies; }

}  // namespace jericho
