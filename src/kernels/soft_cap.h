// Soft-capping of logits (Gemma Team 2024, arXiv:2408.00118, section 2): x = cap * tanh(x / cap), in place.
//   x  [T,C] fp32, rows may be strided
// tanh is tanh.h's; the quotient and the product are rounded once each.
#pragma once

#include "tensor/view.h"

namespace jericho::ref {

void soft_cap(float cap, MatrixView<float> x);

}  // namespace jericho::ref
