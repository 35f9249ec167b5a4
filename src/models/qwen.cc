// Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671; arXiv:2412.15115): biases on q, k and v, none on the output. Qwen3
// (arXiv:2505.09388): no biases, RMSNorm on each head of q and k before RoPE, a head_dim of its own. Half-split
// rotation in every format.
#include <array>

#include <nlohmann/json.hpp>

#include "models/families.h"

namespace jericho {
namespace {

// Layers from max_window_layers on see a window, and only where use_sliding_window says so.
void read_window(const nlohmann::json& config, ModelConfig& c) {
  const auto use = config.find("use_sliding_window");
  if (use == config.end() || !use->is_boolean() || !use->get<bool>()) return;
  const auto window = config.find("sliding_window");
  if (window == config.end() || !window->is_number_integer()) return;
  const auto layers = config.find("max_window_layers");
  constexpr Index kDefault = 28;  // of transformers
  const Index first = layers != config.end() && layers->is_number_integer() ? layers->get<Index>() : kDefault;
  for (Index layer = first < 0 ? 0 : first; layer < c.num_hidden_layers; ++layer) {
    c.window[static_cast<std::size_t>(layer)] = window->get<Index>();
  }
}

void adjust_qwen2(const nlohmann::json& config, ModelConfig& c) {
  c.attention_qkv_bias = true;
  c.attention_output_bias = false;
  read_window(config, c);
}

void adjust_qwen3(const nlohmann::json& config, ModelConfig& c) {
  c.qk_norm = true;
  read_window(config, c);
}

void adjust_qwen2_gguf(const ModelFile&, ModelConfig& c) { c.attention_qkv_bias = true; }

void adjust_qwen3_gguf(const ModelFile&, ModelConfig& c) { c.qk_norm = true; }

constexpr std::array<Family, 2> kFamilies = {{{"Qwen2ForCausalLM", "qwen2", adjust_qwen2, adjust_qwen2_gguf},
                                              {"Qwen3ForCausalLM", "qwen3", adjust_qwen3, adjust_qwen3_gguf}}};

}  // namespace

std::span<const Family> qwen_families() { return kFamilies; }

}  // namespace jericho
