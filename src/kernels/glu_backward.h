// Gated linear units in training: forward over rows of either type, and backward, which makes the forward's output
// again on the way. With y = act(gate) up (glu.h) and dy its gradient,
//   dup = dy act(gate);   dgate = dy up act'(gate)
// where s = 1 / (1 + exp(-t)):
//   kSilu      t = z;                       act = z s;   act' = s (1 + z (1 - s))
//   kGeluTanh  t = z fma(z^2, cubic, linear);  act = z s;   act' = s + (z s)(1 - s) fma(z^2, 3 cubic, linear)
//   kRelu2     act = max(z, 0)^2;           act' = 2 max(z, 0)
//   gate, up, y, dgate, dup [T,C] F32 or BF16; dy [T,C] fp32. Every operation is rounded once.
#pragma once

#include "kernels/dense.h"
#include "kernels/glu.h"

namespace jericho::ref {

void glu_rows(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up, const FloatRows& y);

void glu_backward(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                  MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y);

}  // namespace jericho::ref
