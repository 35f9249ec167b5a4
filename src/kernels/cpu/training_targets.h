// The training kernels that are compiled once per Highway target (targets.h says what each needs), and the tables that
// take them.
#pragma once

#include "kernels/training_kernels.h"

namespace jericho::kernels {

#define JERICHO_TARGET_KERNELS(target)                                                                                 \
  namespace target {                                                                                                   \
  void adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v);            \
  void dense_interleave(DType type, const ConstFloatRows& x, Index padded_cols, std::uint32_t* out, Index out_stride); \
  void dense_transpose(DType type, const ConstFloatRows& x, std::uint32_t* out, Index width);                          \
  void dense_multiply(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,                \
                      DenseStore store, const FloatRows& c);                                                           \
  void rms_norm_backward(MatrixView<const float> x, std::span<const float> weight, float eps,                          \
                         MatrixView<const float> dy, MatrixView<float> dx, std::span<float> dweight);                  \
  void glu_rows(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up, const FloatRows& y);      \
  void glu_backward(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,                       \
                    MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y);     \
  void attention_probabilities(MatrixView<const float> s, float scale, VisibleKeys visible, const FloatRows& p,        \
                               float* m, float* inverse);                                                              \
  void attention_gradients(MatrixView<const float> s, MatrixView<const float> dp, float scale, VisibleKeys visible,    \
                           const float* m, const float* inverse, const float* delta, const FloatRows& q,               \
                           const FloatRows& ds);                                                                       \
  void cross_entropy(MatrixView<const float> z, const std::int32_t* targets, float factor, double* loss,               \
                     const FloatRows& dz);                                                                             \
  void scale_rows(const ConstFloatRows& x, const float* factors, const FloatRows& y);                                  \
  void rope_rows(MatrixView<const float> x, Index head_dim, MatrixView<const float> cos, MatrixView<const float> sin,  \
                 Turn turn, const FloatRows& y);                                                                       \
  void row_dots(const ConstFloatRows& a, const ConstFloatRows& b, float* out);                                         \
  void add_column_sums(const ConstFloatRows& x, std::span<float> sums);                                                \
  float sum_squares(const float* x, Index count);                                                                      \
  void move_weights(float factor, float keep, const float* g, Index count, float* w);                                  \
  void round_row(DType dtype, const float* x, Index cols, const RoundingStream& stream, std::byte* row);               \
  }
JERICHO_TARGET_KERNELS(N_AVX2)
JERICHO_TARGET_KERNELS(N_AVX3)
#undef JERICHO_TARGET_KERNELS

namespace N_AVX3 {
// With the processor's bf16 product.
void dense_multiply_bf16(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                         DenseStore store, const FloatRows& c);
// With AMX tiles, in the order of tiles.
void dense_multiply_amx(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                        DenseStore store, const FloatRows& c);
}  // namespace N_AVX3

TrainingKernels avx2_training_table(const TrainingKernels& below);
TrainingKernels avx512_training_table(const TrainingKernels& below);
TrainingKernels amx_training_table(const TrainingKernels& below);

}  // namespace jericho::kernels
