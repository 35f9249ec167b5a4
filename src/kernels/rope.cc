// The rotation itself: see rope.h.
#include "kernels/rope.h"

#include <cmath>

namespace jericho {

void rope(std::span<float> x, std::span<const float> cos, std::span<const float> sin) {
  const std::size_t half = cos.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    const float b_sin = b * sin[i];
    const float a_sin = a * sin[i];
    x[i] = std::fma(a, cos[i], -b_sin);
    x[i + half] = std::fma(b, cos[i], a_sin);
  }
}

}  // namespace jericho
