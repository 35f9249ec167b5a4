// Gated linear units (Shazeer 2020, arXiv:2002.05202, section 2): y[t,c] = act(gate[t,c]) * up[t,c].
//   gate, up, y  [T,C] fp32, rows may be strided; y may be gate or up
//   kSilu      z / (1 + exp(-z))
//   kGeluTanh  the approximation of GELU by tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2), in the form
//              z / (1 + exp(-2 u)), u = sqrt(2 / pi) (z + 0.044715 z^3): 0.5 (1 + tanh(u)) is the logistic of 2 u, and
//              so written it keeps its relative accuracy where tanh is near -1
//   kRelu2     max(z, 0)^2 (So et al. 2021, arXiv:2109.08668, section 3.1)
// exp is exp.h's; every operation is rounded once (docs/numerics.md 5).
#pragma once

#include "tensor/view.h"

namespace jericho {

enum class Activation { kSilu, kGeluTanh, kRelu2 };

namespace glu_constants {

inline constexpr float kGeluLinear = 1.5957691216057308f;  // 2 sqrt(2 / pi)
inline constexpr float kGeluCubic = 0.07135481627260025f;  // times 0.044715

}  // namespace glu_constants

namespace ref {

void glu(Activation activation, MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y);

}  // namespace ref
}  // namespace jericho
