// Gated activations as docs/numerics.md defines them. Read this first; never optimise it.
#include "kernels/glu.h"

#include <cmath>

#include "kernels/exp.h"

namespace jericho::ref {
namespace {

float activated(Activation activation, float z) {
  using namespace glu_constants;
  if (activation == Activation::kRelu2) {
    const float positive = z < 0 ? 0 : z;  // a NaN passes
    return positive * positive;
  }
  const float t = activation == Activation::kSilu ? z : z * std::fma(z * z, kGeluCubic, kGeluLinear);
  return z / (1.0f + ref::exp(-t));
}

}  // namespace

void glu(Activation activation, MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y) {
  for (Index t = 0; t < gate.extent(0); ++t) {
    for (Index c = 0; c < gate.extent(1); ++c) y(t, c) = activated(activation, gate(t, c)) * up(t, c);
  }
}

}  // namespace jericho::ref
