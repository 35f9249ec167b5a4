// What a state space layer computes between its projections (Mamba: Gu & Dao 2023, arXiv:2312.00752, algorithm 2;
// Mamba-2: Dao & Gu 2024, arXiv:2405.21060, section 7): a causal convolution, time steps, and the selective scan as the
// recurrence it is, position after position. All work on consecutive rows of one sequence and on a range of its
// channels; what a sequence leaves behind for its next rows is in `history` and `state`, so that the bits do not depend
// on how its rows were cut into calls (docs/numerics.md 5). Differs from the papers: no parallel scan and no chunks.
// Do not allocate, throw or start threads.
#pragma once

#include <cstddef>

#include "base/index.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace jericho {

inline constexpr Index kMaxConvKernel = 64;

struct Convolution {              // one filter per channel
  const float* weight = nullptr;  // [C, kernel], the last for the row itself
  const float* bias = nullptr;    // [C], or null
  Index kernel = 0;               // 1 to kMaxConvKernel
};

struct ConvHistory {  // the kernel - 1 rows before the first one, [kernel - 1, C], oldest first
  DType type{};       // kF16 or kF32: every input is rounded to it before any use
  std::byte* data = nullptr;
  Index row_stride = 0;  // in elements
};

struct SelectiveScan {
  MatrixView<const float> dt{};      // time steps: mamba [T,C], mamba2 [T,1]
  MatrixView<const float> b{}, c{};  // [T,N], of all channels
  const float* a = nullptr;          // -exp(A_log): mamba [C,N], mamba2 one number
  const float* d = nullptr;          // mamba [C], mamba2 one number
};

namespace ref {

// x[t,c] = silu(bias[c] + sum_j weight[c,j] x[t - kernel + 1 + j, c]), in place; history moves on by T rows.
void causal_conv1d(const Convolution& conv, const ConvHistory& history, MatrixView<float> x);

// dt[t,c] = softplus(dt[t,c] + bias[c]), not below `lowest` and not above `highest`, in place.
void time_steps(const float* bias, float lowest, float highest, MatrixView<float> dt);

// h[c,n] = exp(dt[t,c] a[c,n]) h[c,n] + (dt[t,c] x[t,c]) b[t,n];  x[t,c] = sum_n h[c,n] c[t,n] + d[c] x[t,c], in place.
// state: h, [C,N].
void mamba_scan(const SelectiveScan& scan, float* state, MatrixView<float> x);

// The same for channels of one head, which share dt, a and d.
void mamba2_scan(const SelectiveScan& scan, float* state, MatrixView<float> x);

}  // namespace ref
}  // namespace jericho
