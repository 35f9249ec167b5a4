// Gated linear units and their gradients value by value. Read this first; never optimise it.
#include "kernels/glu_backward.h"

#include <cmath>

#include "kernels/exp.h"
#include "kernels/ref/float_value.h"

namespace jericho::ref {
namespace {

struct Gate {
  float value, slope;
};

Gate gate_at(Activation activation, float z) {
  using namespace glu_constants;
  if (activation == Activation::kRelu2) {
    const float positive = z < 0 ? 0 : z;
    return {positive * positive, 2.0f * positive};
  }
  const bool gelu = activation == Activation::kGeluTanh;
  const float t = gelu ? z * std::fma(z * z, kGeluCubic, kGeluLinear) : z;
  const float s = 1.0f / (1.0f + ref::exp(-t));
  if (!gelu) return {z * s, s * std::fma(z, 1.0f - s, 1.0f)};
  return {z * s, std::fma((z * s) * (1.0f - s), std::fma(z * z, 3.0f * kGeluCubic, kGeluLinear), s)};
}

}  // namespace

void glu_rows(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up, const FloatRows& y) {
  for (Index t = 0; t < gate.rows; ++t) {
    for (Index c = 0; c < gate.cols; ++c) {
      set_value(y, t, c, gate_at(activation, value_of(gate, t, c)).value * value_of(up, t, c));
    }
  }
}

void glu_backward(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                  MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y) {
  for (Index t = 0; t < gate.rows; ++t) {
    for (Index c = 0; c < gate.cols; ++c) {
      const Gate g = gate_at(activation, value_of(gate, t, c));
      const float u = value_of(up, t, c);
      set_value(y, t, c, g.value * u);
      set_value(dup, t, c, dy(t, c) * g.value);
      set_value(dgate, t, c, (dy(t, c) * u) * g.slope);
    }
  }
}

}  // namespace jericho::ref
