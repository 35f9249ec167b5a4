// The hyperparameters of a decoder, in the words of the checkpoints, whatever file they came from. Each family fills
// one from a Hugging Face config.json or from GGUF metadata (families.h); planner, loader and forward pass read it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/index.h"

namespace jericho {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn };

// models/rope.h turns this into frequencies.
struct RopeConfig {
  double theta = 10000;
  Index dims = 0;  // of the head that are rotated
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  Index original_max_position_embeddings = 0;
  double low_freq_factor = 1;  // llama3
  double high_freq_factor = 4;
  double beta_fast = 32;  // yarn
  double beta_slow = 1;
  bool truncate = true;
  std::optional<double> attention_factor{};
};

struct ModelConfig {
  std::string architecture{};  // as the file names it: "LlamaForCausalLM", "qwen3"
  Index hidden_size = 0;
  Index intermediate_size = 0;
  Index num_hidden_layers = 0;
  Index num_attention_heads = 0;
  Index num_key_value_heads = 0;
  Index head_dim = 0;
  Index vocab_size = 0;
  Index max_position_embeddings = 0;
  float rms_norm_eps = 1e-6f;
  RopeConfig rope{};
  std::vector<Index> window{};  // per layer: positions a token sees, itself included; 0: all
  bool tie_word_embeddings = false;
  bool attention_qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;                // RMSNorm of each head of q and k before RoPE
  bool interleaved_qk_rows = false;    // the file keeps the rows of q and k in rotation pairs (2i, 2i + 1)
  bool rope_divisors_in_file = false;  // a tensor rope_freqs.weight

  [[nodiscard]] Index query_size() const { return num_attention_heads * head_dim; }
  [[nodiscard]] Index kv_size() const { return num_key_value_heads * head_dim; }

  // Error(kInput) for sizes that cannot be: zero, negative, beyond any model, heads that do not divide.
  void validate() const;
};

}  // namespace jericho
