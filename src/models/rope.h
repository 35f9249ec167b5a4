// The angles of rotary embedding and their scaled variants: linear (Chen et al. 2023, arXiv:2306.15595), llama3
// (Llama 3.1's reference code), YaRN (Peng et al. 2023, arXiv:2309.00071, section 3), LongRoPE (Ding et al. 2024,
// arXiv:2402.13753; as in Phi-3). Computed in double with
// base/math.h and rounded to fp32 once, so that they are the same on every machine.
#pragma once

#include <span>
#include <vector>

#include "base/index.h"
#include "models/config.h"

namespace jericho {

// What YaRN multiplies cos and sin with unless the configuration says otherwise (section 3.4): 0.1 ln(factor) + 1, or
// 1; DeepSeek puts `mscale` before the logarithm.
double yarn_magnitude(double factor, double mscale = 1);

class RopeTable {
 public:
  // Error(kInput) for frequencies outside [0, 1], which no sound configuration has.
  // `divisors`: a GGUF's rope_freqs, one per frequency, which is divided by it; or empty.
  explicit RopeTable(const RopeConfig& config, std::span<const float> divisors = {});

  // cos and sin of one position, dims / 2 values each, times the attention factor of YaRN or LongRoPE.
  void angles(Index position, std::span<float> cos, std::span<float> sin) const;

  [[nodiscard]] std::span<const double> frequencies() const { return frequencies_; }
  [[nodiscard]] double magnitude() const { return magnitude_; }

 private:
  std::vector<double> frequencies_;  // radians per position, dims / 2
  double magnitude_ = 1;
};

}  // namespace jericho
