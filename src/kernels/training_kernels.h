// The kernels that only training uses, of one CPU path, as a table beside kernels.h: backward passes, losses, dense
// products whose operands change every step, updates of weights. Contracts are in the headers of the ops. What a path
// lacks it takes from the one below.
#pragma once

#include "base/cpu.h"
#include "kernels/adamw.h"
#include "kernels/attention_rows.h"
#include "kernels/cross_entropy.h"
#include "kernels/dense.h"
#include "kernels/glu_backward.h"
#include "kernels/rms_norm_backward.h"
#include "kernels/row_sums.h"
#include "kernels/stochastic_rows.h"

namespace jericho {

struct TrainingKernels {
  void (*adamw)(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v) = nullptr;
  void (*dense_interleave)(DType type, const ConstFloatRows& x, Index padded_cols, std::uint32_t* out,
                           Index out_stride) = nullptr;
  void (*dense_transpose)(DType type, const ConstFloatRows& x, std::uint32_t* out, Index width) = nullptr;
  void (*dense_multiply)(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                         DenseStore store, const FloatRows& c) = nullptr;
  DenseOrder dense_order = DenseOrder::kPairs;  // that dense_multiply has
  void (*rms_norm_backward)(MatrixView<const float> x, std::span<const float> weight, float eps,
                            MatrixView<const float> dy, MatrixView<float> dx, std::span<float> dweight) = nullptr;
  void (*glu_rows)(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                   const FloatRows& y) = nullptr;
  void (*glu_backward)(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                       MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup,
                       const FloatRows& y) = nullptr;
  void (*attention_probabilities)(MatrixView<const float> s, float scale, VisibleKeys visible, const FloatRows& p,
                                  float* m, float* inverse) = nullptr;
  void (*attention_gradients)(MatrixView<const float> s, MatrixView<const float> dp, float scale, VisibleKeys visible,
                              const float* m, const float* inverse, const float* delta, const FloatRows& q,
                              const FloatRows& ds) = nullptr;
  void (*cross_entropy)(MatrixView<const float> z, const std::int32_t* targets, float factor, double* loss,
                        const FloatRows& dz) = nullptr;
  void (*scale_rows)(const ConstFloatRows& x, const float* factors, const FloatRows& y) = nullptr;
  void (*rope_rows)(MatrixView<const float> x, Index head_dim, MatrixView<const float> cos, MatrixView<const float> sin,
                    Turn turn, const FloatRows& y) = nullptr;
  void (*row_dots)(const ConstFloatRows& a, const ConstFloatRows& b, float* out) = nullptr;
  void (*add_column_sums)(const ConstFloatRows& x, std::span<float> sums) = nullptr;
  float (*sum_squares)(const float* x, Index count) = nullptr;
  void (*move_weights)(float factor, float keep, const float* g, Index count, float* w) = nullptr;
  void (*round_row)(DType dtype, const float* x, Index cols, const RoundingStream& stream, std::byte* row) = nullptr;
};

// The table of a path; it must be one of usable_cpu_paths().
const TrainingKernels& training_kernels_for(CpuPath path);

}  // namespace jericho
