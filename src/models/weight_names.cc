// Llama's names in both formats, and what the other families of each have in common: see weight_names.h.
#include "models/weight_names.h"

namespace jericho {

WeightNames hugging_face_baseline() {
  WeightNames n;
  n.embedding = "model.embed_tokens.weight";
  n.norm = "model.norm.weight";
  n.head = "lm_head.weight";
  n.layer = "model.layers.{}.";
  n.attention_norm = "input_layernorm.weight";
  n.feed_forward_norm = "post_attention_layernorm.weight";
  n.q_norm = "self_attn.q_norm.weight";
  n.k_norm = "self_attn.k_norm.weight";
  n.attention_sub_norm = "self_attn.attn_sub_norm.weight";
  n.feed_forward_sub_norm = "mlp.ffn_sub_norm.weight";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.o = "self_attn.o_proj";
  n.gate = "mlp.gate_proj";
  n.up = "mlp.up_proj";
  n.down = "mlp.down_proj";
  n.router = "mlp.gate.weight";
  n.router_bias = "mlp.gate.e_score_correction_bias";
  n.expert_gate = "mlp.experts.{}.gate_proj.weight";
  n.expert_up = "mlp.experts.{}.up_proj.weight";
  n.expert_down = "mlp.experts.{}.down_proj.weight";
  n.stacked_gate_up = "mlp.experts.gate_up_proj";
  n.stacked_down = "mlp.experts.down_proj";
  n.shared_gate = "mlp.shared_expert.gate_proj";
  n.shared_up = "mlp.shared_expert.up_proj";
  n.shared_down = "mlp.shared_expert.down_proj";
  n.shared_router = "mlp.shared_expert_gate.weight";
  n.q_a = "self_attn.q_a_proj";
  n.q_a_norm = "self_attn.q_a_layernorm.weight";
  n.q_b = "self_attn.q_b_proj";
  n.kv_a = "self_attn.kv_a_proj_with_mqa";
  n.kv_a_norm = "self_attn.kv_a_layernorm.weight";
  n.kv_b = "self_attn.kv_b_proj";
  n.ssm_in = "mixer.in_proj";
  n.ssm_x = "mixer.x_proj";
  n.ssm_dt = "mixer.dt_proj";
  n.ssm_out = "mixer.out_proj";
  n.ssm_conv = "mixer.conv1d";
  n.ssm_a = "mixer.A_log";
  n.ssm_d = "mixer.D";
  n.ssm_norm = "mixer.norm.weight";
  n.ssm_dt_bias = "mixer.dt_bias";
  return n;
}

WeightNames gguf_baseline() {
  WeightNames n;
  n.embedding = "token_embd.weight";
  n.norm = "output_norm.weight";
  n.head = "output.weight";
  n.layer = "blk.{}.";
  n.attention_norm = "attn_norm.weight";
  n.attention_post_norm = "post_attention_norm.weight";
  n.feed_forward_norm = "ffn_norm.weight";
  n.feed_forward_post_norm = "post_ffw_norm.weight";
  n.q_norm = "attn_q_norm.weight";
  n.k_norm = "attn_k_norm.weight";
  n.attention_sub_norm = "attn_sub_norm.weight";
  n.feed_forward_sub_norm = "ffn_sub_norm.weight";
  n.q = "attn_q";
  n.k = "attn_k";
  n.v = "attn_v";
  n.o = "attn_output";
  n.gate = "ffn_gate";
  n.up = "ffn_up";
  n.down = "ffn_down";
  n.router = "ffn_gate_inp.weight";
  n.router_bias = "exp_probs_b.bias";
  n.expert_gate = "ffn_gate.{}.weight";
  n.expert_up = "ffn_up.{}.weight";
  n.expert_down = "ffn_down.{}.weight";
  n.stacked_gate = "ffn_gate_exps.weight";
  n.stacked_up = "ffn_up_exps.weight";
  n.stacked_down = "ffn_down_exps.weight";
  n.stacked_first = true;
  n.shared_gate = "ffn_gate_shexp";
  n.shared_up = "ffn_up_shexp";
  n.shared_down = "ffn_down_shexp";
  n.shared_router = "ffn_gate_inp_shexp.weight";
  n.q_a = "attn_q_a";
  n.q_a_norm = "attn_q_a_norm.weight";
  n.q_b = "attn_q_b";
  n.kv_a = "attn_kv_a_mqa";
  n.kv_a_norm = "attn_kv_a_norm.weight";
  n.kv_b = "attn_kv_b";
  n.k_b = "attn_k_b";
  n.v_b = "attn_v_b";
  n.ssm_in = "ssm_in";
  n.ssm_x = "ssm_x";
  n.ssm_dt = "ssm_dt";
  n.ssm_out = "ssm_out";
  n.ssm_conv = "ssm_conv1d";
  n.ssm_a = "ssm_a";
  n.ssm_d = "ssm_d";
  n.ssm_norm = "ssm_norm.weight";
  n.ssm_dt_bias = "ssm_dt.bias";
  n.ssm_dt_norm = "ssm_dt_norm.weight";
  n.ssm_b_norm = "ssm_b_norm.weight";
  n.ssm_c_norm = "ssm_c_norm.weight";
  n.rope_divisors = "rope_freqs.weight";
  n.rope_short_divisors = "rope_factors_short.weight";
  n.rope_long_divisors = "rope_factors_long.weight";
  return n;
}

}  // namespace jericho
