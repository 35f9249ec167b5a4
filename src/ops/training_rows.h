// Training's work on rows over the pool, around the products: norms into and out of an activation type, gates,
// rotations, embeddings, and the sums over tokens that their gradients are. Sums over tokens are cut into leaves of
// kLeafTokens of each sequence, which are added in order: the same bits for any number of threads and any micro-batch.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/glu.h"
#include "kernels/row_sums.h"
#include "ops/context.h"
#include "ops/stored_rows.h"
#include "tensor/view.h"

namespace jericho {

// y = rms_norm(x) in y's type; `row` has x.cols values per thread.
void rms_norm_rows(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
                   const FloatRows& y, std::span<float> row);

inline constexpr Index kLeafTokens = 64;

// dx += and dweight += of kernels/rms_norm_backward.h; `leaves` of token_blocks(.., kLeafTokens), `partial` a row per
// leaf. `dweight` of a weight that is not trained is empty.
void rms_norm_backward(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
                       MatrixView<const float> dy, MatrixView<float> dx, std::span<const Index> leaves,
                       std::span<float> partial, std::span<float> dweight);

// sums += the rows of x; `partial` a row per leaf.
void add_column_sums(const Context& context, const ConstFloatRows& x, std::span<const Index> leaves,
                     std::span<float> partial, std::span<float> sums);

void glu_rows(const Context& context, Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
              const FloatRows& y);
void glu_backward(const Context& context, Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                  MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y);
void rope_rows(const Context& context, MatrixView<const float> x, Index head_dim, MatrixView<const float> cos,
               MatrixView<const float> sin, Turn turn, const FloatRows& y);
void convert_rows(const Context& context, const ConstFloatRows& x, const FloatRows& y);
void add_bias(const Context& context, std::span<const float> bias, MatrixView<float> x);

// x[t] = table[ids[t]]; dtable[ids[t]] += dx[t], in the order of t.
void embedding_rows(const Context& context, const StoredRows& table, std::span<const std::int32_t> ids,
                    MatrixView<float> x);
void embedding_backward(const Context& context, std::span<const std::int32_t> ids, MatrixView<const float> dx,
                        MatrixView<float> dtable);

// Sum of squares over all values: leaves of 4096, added in order in double.
double sum_squares(const Context& context, std::span<const float> x, std::span<double> leaves);
inline constexpr Index kSumLeaf = 4096;

// x *= factor.
void scale(const Context& context, float factor, std::span<float> x);
// y += x.
void add(const Context& context, std::span<const float> x, std::span<float> y);
void set_zero(const Context& context, std::span<float> x);

}  // namespace jericho
