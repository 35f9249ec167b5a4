// Products of fp32 matrices for rules that project or orthogonalise gradients, by ops/dense.h: every value is one
// chain, so the number of threads changes no bit. The right operand is packed a part at a time, so that a large one
// needs no copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "ops/context.h"
#include "ops/dense.h"
#include "tensor/view.h"

namespace jericho {

inline constexpr Index kProductColumns = 1024;  // of the result, that share one packing

// Cells that a product over `depth` with `columns` in its result takes.
constexpr Index product_cells(Index depth, Index columns) {
  return dense_right_cells(depth, std::min(columns, kProductColumns));
}

// c = a b;  a [m, k], b [k, n]
void multiply(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
              std::span<std::uint32_t> cells, MatrixView<float> c);
// c = a b^T;  b [n, k]
void multiply_transposed(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
                         std::span<std::uint32_t> cells, MatrixView<float> c);
// out [n, m] = x [m, n] transposed
void transpose(const Context& context, MatrixView<const float> x, MatrixView<float> out);

}  // namespace jericho
