// Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34), half-split pairs (i, i + R/2), in place.
//   y[i] = fma(x[i], cos[i], -(x[i + R/2] * sin[i]));  y[i + R/2] = fma(x[i + R/2], cos[i], x[i] * sin[i]),  i < R/2
// x[D] with D >= R = 2 * cos.size(); the part beyond R is left alone. cos and sin are of one position (models/rope.h
// makes them). Each output is two correctly rounded operations: plain code gives the same bits on every path.
#pragma once

#include <span>

namespace jericho {

void rope(std::span<float> x, std::span<const float> cos, std::span<const float> sin);

}  // namespace jericho
