// The gradients of RMSNorm (rms_norm.h): with r = 1 / sqrt(mean(x^2) + eps),
//   dx[t,c] += r (dy[t,c] w[c]) - x[t,c] (r^3 / C) sum_j dy[t,j] w[j] x[t,j];   dweight[c] += sum_t (dy[t,c] x[t,c]) r
//   x, dy, dx [T,C] fp32, rows may be strided; dweight [C] gains the rows in order
// Sums over a row as in docs/numerics.md 2.
#pragma once

#include <span>

#include "tensor/view.h"

namespace jericho::ref {

void rms_norm_backward(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<const float> dy,
                       MatrixView<float> dx, std::span<float> dweight);

}  // namespace jericho::ref
