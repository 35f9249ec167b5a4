// RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
// y[t,c] = (x[t,c] * s[t]) * weight[c],  s[t] = 1 / sqrt(sum_c(x[t,:]^2) / C + eps)
//   x, y    [T,C] fp32, rows may be strided; y may be x, otherwise they must not overlap
//   weight  [C] fp32          eps  the checkpoint's rms_norm_eps
// The squares are summed in 16 lanes (docs/numerics.md 2). Does not allocate, throw or start threads: the op splits
// rows.
#pragma once

#include <span>

#include "tensor/view.h"

namespace jericho::ref {

void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y);

}  // namespace jericho::ref
