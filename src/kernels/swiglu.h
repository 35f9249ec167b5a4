// SwiGLU (Shazeer 2020, arXiv:2002.05202, section 2): y[t,c] = silu(gate[t,c]) * up[t,c], silu(z) = z / (1 + exp(-z)).
//   gate, up, y  [T,C] fp32, rows may be strided; y may be gate or up
// exp is exp.h's; the quotient and the product are rounded once each.
#pragma once

#include "tensor/view.h"

namespace jericho::ref {

void swiglu(MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y);

}  // namespace jericho::ref
