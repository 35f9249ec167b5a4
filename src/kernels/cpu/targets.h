// The kernels that are compiled once per Highway target. Namespaces are named for the target, so that a table says
// which one it takes: N_AVX2 needs AVX2, FMA and F16C; N_AVX3 needs AVX-512 F, BW, VL and DQ (and VNNI for block
// formats).
#pragma once

#include <span>

#include "kernels/kernels.h"

namespace jericho::kernels {

#define JERICHO_TARGET_KERNELS(target)                                                                                 \
  namespace target {                                                                                                   \
  void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y);             \
  void glu(Activation activation, MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y);      \
  void soft_cap(float cap, MatrixView<float> x);                                                                       \
  void quantize_q8(const float* x, Index count, Index padded, Index group, const Q8Row& out);                          \
  void round_bf16(const float* x, Index count, Index padded, BF16* out);                                               \
  void kv_store(KvType type, const float* x, Index head_dim, Index slot, std::byte* tile);                             \
  void matmul(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,      \
              MatrixView<float> y);                                                                                    \
  void matmul_float(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,                 \
                    Index strip_end, MatrixView<float> y);                                                             \
  void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,       \
                 MatrixView<float> out);                                                                               \
  void attention_logits(const KvHead& kv, const QueryTokens& token, AttentionLogits logits, MatrixView<const float> q, \
                        StepRange blocks, const AttentionSteps& steps);                                                \
  void attention_weights(const QueryTokens& token, StepRange blocks, const AttentionSteps& steps);                     \
  void attention_values(const KvHead& kv, const QueryTokens& token, StepRange columns, const AttentionSteps& steps,    \
                        MatrixView<float> out);                                                                        \
  void causal_conv1d(const Convolution& conv, const ConvHistory& history, MatrixView<float> x);                        \
  void time_steps(const float* bias, float lowest, float highest, MatrixView<float> dt);                               \
  void mamba_scan(const SelectiveScan& scan, float* state, MatrixView<float> x);                                       \
  void mamba2_scan(const SelectiveScan& scan, float* state, MatrixView<float> x);                                      \
  void low_rank_add(MatrixView<const float> u, MatrixView<const float> m, const RowGains& gains, MatrixView<float> y); \
  }
JERICHO_TARGET_KERNELS(N_AVX2)
JERICHO_TARGET_KERNELS(N_AVX3)
#undef JERICHO_TARGET_KERNELS

namespace N_AVX3 {
// Block formats and BF16 with more than a few tokens: matmul() and matmul_float() call them.
void matmul_vnni(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y);
void matmul_bf16(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y);
// With AMX int8 and bf16 on top.
void matmul_amx(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                MatrixView<float> y);
void attention_amx(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
                   MatrixView<float> out);
}  // namespace N_AVX3

}  // namespace jericho::kernels
