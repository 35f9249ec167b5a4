// Products of fp32 matrices for rules that project or orthogonalise gradients. Each value of the result is one chain of
// additions in index order by one thread, so the number of threads changes no bit.
#pragma once

#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

// c = a b;  a [m, k], b [k, n]
void multiply(const Context& context, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c);
// c = alpha c + beta a b
void multiply_add(const Context& context, float alpha, float beta, MatrixView<const float> a, MatrixView<const float> b,
                  MatrixView<float> c);
// out [n, m] = x [m, n] transposed
void transpose(const Context& context, MatrixView<const float> x, MatrixView<float> out);

}  // namespace jericho
