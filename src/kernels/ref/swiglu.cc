// SwiGLU as docs/numerics.md defines it. Read this first; never optimise it.
#include "kernels/swiglu.h"

#include "kernels/exp.h"

void jericho::ref::swiglu(MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y) {
  for (Index t = 0; t < gate.extent(0); ++t) {
    for (Index c = 0; c < gate.extent(1); ++c) {
      const float z = gate(t, c);
      y(t, c) = z / (1.0f + ref::exp(-z)) * up(t, c);
    }
  }
}
