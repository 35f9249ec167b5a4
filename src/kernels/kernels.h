// The kernels of one CPU path, as a table: ops hold one and call through it, tests run them all. Every entry gives the
// bits of its reference twin (docs/numerics.md); the contracts are in the headers of the ops.
#pragma once

#include <cstddef>
#include <span>

#include "base/cpu.h"
#include "kernels/activations.h"
#include "kernels/attention.h"
#include "kernels/attention_steps.h"
#include "kernels/glu.h"
#include "kernels/kv_tile.h"
#include "kernels/low_rank.h"
#include "kernels/matmul.h"
#include "kernels/packed_matrix.h"
#include "kernels/soft_cap.h"
#include "kernels/state_space.h"
#include "tensor/view.h"

namespace jericho {

struct Kernels {
  CpuPath path{};
  void (*rms_norm)(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y) = nullptr;
  void (*glu)(Activation activation, MatrixView<const float> gate, MatrixView<const float> up,
              MatrixView<float> y) = nullptr;
  void (*soft_cap)(float cap, MatrixView<float> x) = nullptr;
  void (*quantize_q8)(const float* x, Index count, Index padded, Index group, const Q8Row& out) = nullptr;
  void (*round_bf16)(const float* x, Index count, Index padded, BF16* out) = nullptr;
  void (*kv_store)(KvType type, const float* x, Index head_dim, Index slot, std::byte* tile) = nullptr;
  void (*matmul)(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y) = nullptr;
  void (*attention)(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
                    MatrixView<float> out) = nullptr;
  void (*attention_logits)(const KvHead& kv, const QueryTokens& token, AttentionLogits logits,
                           MatrixView<const float> q, StepRange blocks, const AttentionSteps& steps) = nullptr;
  void (*attention_weights)(const QueryTokens& token, StepRange blocks, const AttentionSteps& steps) = nullptr;
  void (*attention_values)(const KvHead& kv, const QueryTokens& token, StepRange columns, const AttentionSteps& steps,
                           MatrixView<float> out) = nullptr;
  void (*causal_conv1d)(const Convolution& conv, const ConvHistory& history, MatrixView<float> x) = nullptr;
  void (*time_steps)(const float* bias, float lowest, float highest, MatrixView<float> dt) = nullptr;
  void (*mamba_scan)(const SelectiveScan& scan, float* state, MatrixView<float> x) = nullptr;
  void (*mamba2_scan)(const SelectiveScan& scan, float* state, MatrixView<float> x) = nullptr;
  void (*low_rank_add)(MatrixView<const float> u, MatrixView<const float> m, const RowGains& gains,
                       MatrixView<float> y) = nullptr;
};

// The table of a path; it must be one of usable_cpu_paths().
const Kernels& kernels_for(CpuPath path);

}  // namespace jericho
