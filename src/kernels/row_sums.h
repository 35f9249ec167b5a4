// Small work on rows of F32 or BF16 values that training needs between products: conversions, factors per row, rotation
// of heads into another type, dot products of rows, sums over rows. Sums over a row as in docs/numerics.md 2; sums over
// rows gain them in order.
#pragma once

#include <span>

#include "kernels/dense.h"
#include "tensor/view.h"

namespace jericho {

enum class Turn { kForward, kBack };

namespace ref {

// y[t] = x[t] factors[t]; no factors: y = x.
void scale_rows(const ConstFloatRows& x, const float* factors, const FloatRows& y);

// rope.h of each head of x [T, heads D], into y: the first 2 cos.extent(1) values of a head; kBack by minus the angle.
void rope_rows(MatrixView<const float> x, Index head_dim, MatrixView<const float> cos, MatrixView<const float> sin,
               Turn turn, const FloatRows& y);

// out[t] = sum_c a[t,c] b[t,c].
void row_dots(const ConstFloatRows& a, const ConstFloatRows& b, float* out);

// sums[c] += sum_t x[t,c].
void add_column_sums(const ConstFloatRows& x, std::span<float> sums);

// sum_i x[i]^2.
float sum_squares(const float* x, Index count);

}  // namespace ref
}  // namespace jericho
