// The tables of the vector paths: which target's kernel each path takes. What a path lacks it takes from the one below.
#include "kernels/cpu/tables.h"

#include "kernels/cpu/targets.h"

namespace jericho::kernels {

Kernels avx2_table(const Kernels& below) {
  Kernels table = below;
  table.path = CpuPath::kAvx2;
  table.rms_norm = N_AVX2::rms_norm;
  table.glu = N_AVX2::glu;
  table.soft_cap = N_AVX2::soft_cap;
  table.quantize_q8 = N_AVX2::quantize_q8;
  table.round_bf16 = N_AVX2::round_bf16;
  table.kv_store = N_AVX2::kv_store;
  table.matmul = N_AVX2::matmul;
  table.attention = N_AVX2::attention;
  table.attention_logits = N_AVX2::attention_logits;
  table.attention_weights = N_AVX2::attention_weights;
  table.attention_values = N_AVX2::attention_values;
  table.causal_conv1d = N_AVX2::causal_conv1d;
  table.time_steps = N_AVX2::time_steps;
  table.mamba_scan = N_AVX2::mamba_scan;
  table.mamba2_scan = N_AVX2::mamba2_scan;
  table.low_rank_add = N_AVX2::low_rank_add;
  return table;
}

Kernels avx512_table(const Kernels& below) {
  Kernels table = below;
  table.path = CpuPath::kAvx512;
  table.rms_norm = N_AVX3::rms_norm;
  table.glu = N_AVX3::glu;
  table.soft_cap = N_AVX3::soft_cap;
  table.quantize_q8 = N_AVX3::quantize_q8;
  table.round_bf16 = N_AVX3::round_bf16;
  table.kv_store = N_AVX3::kv_store;
  table.matmul = N_AVX3::matmul;
  table.attention = N_AVX3::attention;
  table.attention_logits = N_AVX3::attention_logits;
  table.attention_weights = N_AVX3::attention_weights;
  table.attention_values = N_AVX3::attention_values;
  table.causal_conv1d = N_AVX3::causal_conv1d;
  table.time_steps = N_AVX3::time_steps;
  table.mamba_scan = N_AVX3::mamba_scan;
  table.mamba2_scan = N_AVX3::mamba2_scan;
  table.low_rank_add = N_AVX3::low_rank_add;
  return table;
}

Kernels amx_table(const Kernels& below) {
  Kernels table = below;
  table.path = CpuPath::kAmx;
  table.matmul = N_AVX3::matmul_amx;
  table.attention = N_AVX3::attention_amx;
  return table;
}

}  // namespace jericho::kernels
