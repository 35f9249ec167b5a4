// Sums over a row (docs/numerics.md 2): 16 lanes, lane = index mod 16, combined as lanes i and i + 8, + 4, + 2, + 1.
#pragma once

#include <array>

namespace jericho {

constexpr float sum_lanes(std::array<float, 16> lane) {
  for (std::size_t half = 8; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

}  // namespace jericho
