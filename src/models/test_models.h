// For tests only: small models of every shape the kernels care about, and a machine to run them on.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "memory/ledger.h"
#include "models/config.h"
#include "ops/context.h"

namespace jericho {

// Books, threads and kernels as main() makes them.
struct TestMachine {
  explicit TestMachine(int threads = 2, CpuPath path = chosen_cpu_path()) : TestMachine(threads, kernels_for(path)) {}
  TestMachine(int threads, const Kernels& kernels) : pool(threads), context{ledger, pool, kernels} {
    flush_subnormals();
  }
  Ledger ledger{LedgerCaps{.ram = 2_GiB}};
  ThreadPool pool;
  Context context;
};

// Two layers, grouped queries, tied, head_dim 32.
inline ModelConfig small_config() {
  ModelConfig c;
  c.architecture = "small";
  c.hidden_size = 256;
  c.intermediate_size = 512;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 2;
  c.head_dim = 32;
  c.vocab_size = 320;
  c.max_position_embeddings = 1024;
  c.rms_norm_eps = 1e-5f;
  c.rope.dims = c.head_dim;
  c.layers.assign(2, {});
  c.tie_word_embeddings = true;
  return c;
}

// Everything a family may add: a window in one of three layers, norms of q and k, biases, an untied head, head_dim 64.
inline ModelConfig rich_config() {
  ModelConfig c = small_config();
  c.architecture = "rich";
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  c.head_dim = c.rope.dims = 64;
  c.intermediate_size = 768;
  c.layers.assign(3, {});
  c.layers[1].window = 70;
  c.tie_word_embeddings = false;
  c.qk_norm = QkNorm::kHead;
  c.attention_qkv_bias = c.attention_output_bias = c.mlp_bias = true;
  return c;
}

// Sizes that divide into nothing: rows are padded, strips are partly filled, the rotated part ends inside a head.
inline ModelConfig odd_config() {
  ModelConfig c = small_config();
  c.architecture = "odd";
  c.hidden_size = 200;
  c.intermediate_size = 312;
  c.num_attention_heads = 5;
  c.num_key_value_heads = 1;
  c.head_dim = 40;
  c.rope.dims = 24;
  c.vocab_size = 333;
  return c;
}

// Two of three layers with experts in groups, a bias on their choice, and a gated shared expert beside them.
inline ModelConfig experts_config() {
  ModelConfig c = small_config();
  c.architecture = "experts";
  c.num_hidden_layers = 3;
  c.layers.assign(3, {});
  c.layers[1].feed_forward = c.layers[2].feed_forward = FeedForward::kExperts;
  c.moe.experts = 12;
  c.moe.experts_per_token = 3;
  c.moe.intermediate_size = 256;
  c.moe.shared_intermediate_size = 512;
  c.moe.shared_gate = c.moe.selection_bias = c.moe.normalize = true;
  c.moe.gating = Gating::kSigmoid;
  c.moe.scale = 2.5f;
  c.moe.groups = 4;
  c.moe.topk_groups = 2;
  c.moe.group_score = GroupScore::kTopTwoSum;
  return c;
}

// Mamba with norms of dt, B and C; nothing attends. Odd sizes.
inline ModelConfig mamba_config() {
  ModelConfig c = small_config();
  c.architecture = "mamba";
  c.num_attention_heads = c.num_key_value_heads = c.head_dim = c.rope.dims = c.intermediate_size = 0;
  for (LayerConfig& layer : c.layers) {
    layer = {.attention = false,
             .state_space = StateSpace::kMamba,
             .feed_forward = FeedForward::kNone,
             .rope = LayerRope::kNone};
  }
  c.state_space.inner_size = 520;
  c.state_space.state_size = 20;
  c.state_space.conv_kernel = 4;
  c.state_space.dt_rank = 17;
  c.state_space.dt_b_c_norm = c.state_space.dt_b_c_weights = true;
  return c;
}

// Mamba-2 in two groups beside attention in one layer, on its own in another, with factors and a norm before the gate.
inline ModelConfig hybrid_config() {
  ModelConfig c = small_config();
  c.architecture = "hybrid";
  c.num_hidden_layers = 3;
  c.layers.assign(3, {});
  c.layers[0].state_space = c.layers[2].state_space = StateSpace::kMamba2;
  c.layers[2].attention = false;
  c.state_space.inner_size = 480;
  c.state_space.state_size = 24;
  c.state_space.conv_kernel = 3;
  c.state_space.heads = 12;
  c.state_space.groups = 2;
  c.state_space.norm_before_gate = true;
  c.multipliers.ssm_b = 0.75f;
  c.multipliers.ssm_out = 1.25f;
  c.multipliers.q = 0.5f;
  return c;
}

// Norms on both sides of each block, soft caps, GELU as gate, windowed layers that turn by a base of their own.
inline ModelConfig capped_config() {
  ModelConfig c = small_config();
  c.architecture = "capped";
  c.num_hidden_layers = 3;
  c.layers.assign(3, {});
  c.layers[0].window = c.layers[1].window = 70;
  c.layers[0].rope = c.layers[1].rope = LayerRope::kLocal;
  c.local_rope = c.rope;
  c.rope.theta = 1e6;
  c.rope.scaling = RopeScaling::kLinear;
  c.rope.factor = 8;
  c.activation = Activation::kGeluTanh;
  c.post_norms = true;
  c.qk_norm = QkNorm::kHead;
  c.attention_scale = 0.2f;
  c.attention_softcap = 5;
  c.final_softcap = 3;
  c.embedding_scale = 16;
  return c;
}

// Latent attention of more heads than one part of the work takes, with compressed queries.
inline ModelConfig latent_config() {
  ModelConfig c = small_config();
  c.architecture = "latent";
  c.num_attention_heads = c.num_key_value_heads = 20;
  c.latent = {.kv_lora_rank = 64, .q_lora_rank = 96, .nope_dim = 32, .rope_dim = 16, .value_dim = 24};
  c.head_dim = 48;
  c.rope.dims = 16;
  c.attention_scale = 0.2f;
  return c;
}

inline std::vector<std::int32_t> random_tokens(Index count, Index vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

}  // namespace jericho
