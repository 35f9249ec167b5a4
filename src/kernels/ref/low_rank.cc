// Products of low rank as docs/numerics.md defines them. Read this first; never optimise it.
#include "kernels/low_rank.h"

#include <cmath>

void jericho::ref::low_rank_add(MatrixView<const float> u, MatrixView<const float> m, const RowGains& gains,
                                MatrixView<float> y) {
  for (Index t = 0; t < y.extent(0); ++t) {
    for (Index n = 0; n < y.extent(1); ++n) {
      float d = 0;
      for (Index r = 0; r < m.extent(0); ++r) d = std::fma(u(t, r), m(r, n), d);
      const float g = gains.gain == nullptr ? 1.0f : gains.gain[n];
      const float b = gains.bias == nullptr ? 0.0f : gains.bias[n];
      float value = y(t, n);
      const bool scaled = g != 1;
      if (scaled && gains.bias != nullptr) value = value - b;
      if (d != 0) value = value + d;
      if (scaled) value = value * g;
      if (scaled && gains.bias != nullptr) value = value + b;
      y(t, n) = value;
    }
  }
}
