// What a format calls the weights of a decoder. The baselines are Llama's; a family changes the fields that differ.
// Names are whole, but for stems, to which ".weight" and ".bias" are added, and for names inside a layer, which follow
// its prefix. "{}" stands for the number of the layer or expert.
#pragma once

#include <string>

namespace jericho {

struct WeightNames {
  std::string embedding{}, norm{}, head{};
  std::string layer{};  // prefix

  std::string attention_norm{};       // before attention or the state space
  std::string attention_post_norm{};  // after it, where the model has such
  std::string feed_forward_norm{};
  std::string feed_forward_post_norm{};
  std::string q_norm{}, k_norm{};
  std::string attention_sub_norm{}, feed_forward_sub_norm{};

  std::string q{}, k{}, v{}, o{};  // stems
  std::string qkv{};               // stem; not empty: q, k and v are the rows of this one
  std::string gate{}, up{}, down{};
  std::string gate_up{};  // stem; not empty: gate and up are the rows of this one

  // Experts: one tensor each ("{}" is the expert), or stacked, the expert being the outermost index. Both may be
  // known; what the file has is read, the first is written. Whole names; empty: not known in this format.
  std::string router{}, router_bias{};
  std::string expert_gate{}, expert_up{}, expert_down{};
  std::string stacked_gate{}, stacked_up{}, stacked_down{};
  std::string stacked_gate_up{};
  std::string shared_gate{}, shared_up{}, shared_down{};  // stems
  std::string shared_router{};
  bool stacked_first = false;  // what is written

  // Latent attention. kv_b holds, per head, the rows of keys, then of values; k_b and v_b are its two parts, k_b
  // transposed.
  std::string q_a{}, q_a_norm{}, q_b{}, kv_a{}, kv_a_norm{}, kv_b{}, k_b{}, v_b{};  // stems; whole for the norms

  // State spaces. Stems for in, x, dt and out.
  std::string ssm_in{}, ssm_x{}, ssm_dt{}, ssm_out{};
  std::string ssm_conv{};  // stem
  std::string ssm_a{}, ssm_d{}, ssm_norm{};
  std::string ssm_dt_bias{};                              // whole: mamba2 has no weight beside it
  std::string ssm_dt_norm{}, ssm_b_norm{}, ssm_c_norm{};  // whole

  std::string rope_divisors{};
  std::string rope_short_divisors{}, rope_long_divisors{};  // longrope
};

WeightNames hugging_face_baseline();
WeightNames gguf_baseline();

}  // namespace jericho
