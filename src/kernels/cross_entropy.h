// The loss of next-token prediction and its gradient, row by row of logits z [T,V]; y is the target:
//   loss = lse(z) - z[y], lse(z) = m + log(sum_v exp(z[v] - m)), m the largest;   dz = (softmax(z) - onehot(y)) factor
// A row whose target is negative has no loss and a gradient of zero. exp is exp.h's, log base/math.h's in double; the
// sum as in docs/numerics.md 2.
#pragma once

#include <cstdint>

#include "kernels/dense.h"
#include "tensor/view.h"

namespace jericho::ref {

// loss [T]; dz may have no data: no gradient is wanted.
void cross_entropy(MatrixView<const float> z, const std::int32_t* targets, float factor, double* loss,
                   const FloatRows& dz);

}  // namespace jericho::ref
