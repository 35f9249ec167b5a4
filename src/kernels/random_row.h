// For tests and benchmarks only: the rows that kernels are fed, ordinary numbers and, on request, every value that
// breaks careless code.
#pragma once

#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "base/index.h"

namespace jericho {

enum class Values { kPlain, kSpecial };

inline std::vector<float> random_row(Index count, unsigned seed, Values values = Values::kPlain, float width = 3.0f) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {
      0.0f,  -0.0f,   1e-40f,   -1e-45f,   1e-38f, 3e38f,      -3e38f,
      1e20f, -1e-20f, 65520.0f, kInfinity, 6e-8f,  -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, width);
  std::vector<float> row(static_cast<std::size_t>(count));
  for (float& x : row) {
    x = normal(random);
    if (values == Values::kSpecial && random() % 8 == 0) x = kSpecial[random() % std::size(kSpecial)];
  }
  return row;
}

}  // namespace jericho
