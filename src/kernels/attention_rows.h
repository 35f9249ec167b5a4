// The row work of training's attention (Dao 2023, arXiv:2307.08691, algorithms 1 and 2), between dense products: scores
// of a tile of queries against all the keys it sees become probabilities; and scores with the gradients of
// probabilities become the gradients of scores. Row i of a tile sees columns [first + i, end + i) within [0, n).
//   p[i,j] = exp(scale s[i,j] - m[i]), m the row's largest visible scale s; 0 where i does not see j
//   inverse[i] = 1 / sum_j p[i,j], so that the output is inverse[i] (p v)[i]
//   backward: q[i,j] = exp(scale s[i,j] - m[i]) inverse[i];  ds[i,j] = q[i,j] (dp[i,j] - delta[i]) scale
// Sums as in docs/numerics.md 2. s and dp are fp32 [rows, n]; p, q, ds are F32 or BF16, n a multiple of 16.
#pragma once

#include "kernels/dense.h"
#include "tensor/view.h"

namespace jericho {

struct VisibleKeys {  // of row 0; one more of each per row
  Index first = 0;    // may be negative
  Index end = 0;
};

namespace ref {

void attention_probabilities(MatrixView<const float> s, float scale, VisibleKeys visible, const FloatRows& p, float* m,
                             float* inverse);

void attention_gradients(MatrixView<const float> s, MatrixView<const float> dp, float scale, VisibleKeys visible,
                         const float* m, const float* inverse, const float* delta, const FloatRows& q,
                         const FloatRows& ds);

}  // namespace ref
}  // namespace jericho
