// The hyperparameters of a decoder, in the words of the checkpoints, whatever file they came from. Each family fills
// one from a Hugging Face config.json or from GGUF metadata (families.h); planner, loader and forward pass read it.
// What every model has lies in ModelConfig; what a layer is made of in its LayerConfig; what only some layers have
// (experts, latent attention, state spaces) in a struct of its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/index.h"
#include "kernels/glu.h"
#include "models/weight_names.h"
#include "ops/moe.h"

namespace jericho {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kLongRope };

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
  std::vector<double> short_factor{};  // longrope: divisors up to the original context, [dims / 2]
  std::vector<double> long_factor{};   // and beyond it
  bool factors_in_file = false;        // longrope: the two lists are tensors of the file
  bool long_context = false;           // longrope: which of the two a sequence uses (rope.h)
};

enum class LayerRope { kNone, kGlobal, kLocal };  // ModelConfig::rope, ModelConfig::local_rope
enum class StateSpace { kNone, kMamba, kMamba2 };
enum class FeedForward { kNone, kDense, kExperts };

// What one layer does: attention and a state space may stand alone or side by side on the same input.
struct LayerConfig {
  bool attention = true;
  StateSpace state_space = StateSpace::kNone;
  FeedForward feed_forward = FeedForward::kDense;
  Index window = 0;  // positions a token sees, itself included; 0: all
  LayerRope rope = LayerRope::kGlobal;
};

enum class QkNorm { kNone, kHead, kProjection };  // RMSNorm of q and k before RoPE: per head, or all heads at once

// A layer of experts. RouterRule::experts 0: the model has none.
struct MoeConfig : RouterRule {
  Index intermediate_size = 0;         // of one expert
  Index shared_intermediate_size = 0;  // of the expert that every token uses; 0: none
  bool shared_gate = false;            // its output times sigmoid(shared_router x)
  bool selection_bias = false;         // added to the scores for the choice only
};

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).
struct LatentConfig {
  Index kv_lora_rank = 0;  // 0: plain attention
  Index q_lora_rank = 0;   // 0: one projection
  Index nope_dim = 0;      // of a query or key head, not rotated
  Index rope_dim = 0;      // rotated, shared by all heads on the side of the keys
  Index value_dim = 0;
};

struct StateSpaceConfig {
  Index inner_size = 0;  // 0: the model has none
  Index state_size = 0;
  Index conv_kernel = 0;
  Index dt_rank = 0;              // mamba
  Index heads = 0;                // mamba2: inner_size / heads channels each
  Index groups = 1;               // mamba2: heads / groups share B and C
  bool conv_bias = true;          // on the convolution
  bool projection_bias = false;   // on the projections in and out
  bool gated_norm = true;         // mamba2: RMSNorm of y silu(z) per group; else y silu(z) alone
  bool norm_before_gate = false;  // mamba2: the norm before the gate
  bool dt_b_c_norm = false;       // mamba: RMSNorm of dt, B and C, with weights where the file has them
  bool dt_b_c_weights = false;
  float norm_eps = 1e-5f;  // of the norms inside
  float dt_min = 0;        // mamba2: dt is clamped to [dt_min, dt_max]
  float dt_max = 3.402823466e38f;
};

// Factors on the outputs of projections (Falcon-H1). GGUF files carry them inside the weights.
struct Multipliers {
  float q = 1, k = 1, v = 1, attention_out = 1;
  float gate = 1, down = 1;
  float ssm_z = 1, ssm_x = 1, ssm_b = 1, ssm_c = 1, ssm_dt = 1, ssm_out = 1;
  float embedding = 1, head = 1;
};

struct ModelConfig {
  std::string architecture{};  // as the file names it: "LlamaForCausalLM", "qwen3"
  Index hidden_size = 0;
  Index intermediate_size = 0;  // of dense layers; 0: there are none
  Index num_hidden_layers = 0;
  Index num_attention_heads = 0;  // 0: no attention anywhere
  Index num_key_value_heads = 0;
  Index head_dim = 0;
  Index vocab_size = 0;
  Index max_position_embeddings = 0;
  float rms_norm_eps = 1e-6f;
  std::vector<LayerConfig> layers{};  // num_hidden_layers of them
  Index layer_passes = 1;  // times each stored layer runs in succession, each with keys and values of its own
  RopeConfig rope{};
  std::optional<RopeConfig> local_rope{};
  MoeConfig moe{};
  LatentConfig latent{};
  StateSpaceConfig state_space{};
  Multipliers multipliers{};

  Activation activation = Activation::kSilu;  // of the gate: act(gate) * up
  QkNorm qk_norm = QkNorm::kNone;
  bool post_norms = false;          // RMSNorm on the output of attention and of the feed-forward, before the residual
  bool sub_norms = false;           // RMSNorm before o_proj and before down_proj (BitNet)
  float attention_scale = 0;        // of the logits; 0: 1 / sqrt(head_dim)
  float attention_softcap = 0;      // logits become c tanh(logit / c); 0: no
  float final_softcap = 0;          // the same on the model's logits
  std::optional<float> clip_qkv{};  // q, k and v are clamped to [-c, c]
  float embedding_scale = 1;
  float residual_scale = 1;  // on what a block adds
  float logit_scale = 1;
  bool tie_word_embeddings = false;
  bool attention_qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;

  // How the files keep the weights (weight_list.h).
  WeightNames hugging_face_names = hugging_face_baseline();
  WeightNames gguf_names = gguf_baseline();
  bool interleaved_qk_rows = false;    // GGUF keeps the rows of q and k in rotation pairs (2i, 2i + 1)
  bool norms_without_one = false;      // Hugging Face keeps w of a norm by 1 + w
  bool rope_divisors_in_file = false;  // a tensor rope_freqs.weight

  [[nodiscard]] Index query_size() const { return num_attention_heads * head_dim; }
  [[nodiscard]] Index kv_size() const { return num_key_value_heads * head_dim; }
  [[nodiscard]] Index attention_layers() const;    // KV caches: layers with attention, times layer_passes
  [[nodiscard]] Index state_space_layers() const;  // states: layers with a state space, times layer_passes

  // Error(kInput) for sizes that cannot be: zero, negative, beyond any model, heads that do not divide.
  void validate() const;
};

}  // namespace jericho
