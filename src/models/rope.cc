// Frequencies and their scaling: see rope.h.
#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/math.h"

namespace jericho {
namespace {

// Low frequencies are divided by the factor, high ones kept, those between blended by wavelength.
double llama3_frequency(const RopeConfig& c, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(c.original_max_position_embeddings);
  if (wavelength < original / c.high_freq_factor) return frequency;
  if (wavelength > original / c.low_freq_factor) return frequency / c.factor;
  const double s = (original / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return (1 - s) * frequency / c.factor + s * frequency;
}

// The ramp of eq. 17-18 between the dimensions that turn beta_fast and beta_slow times over the original context.
struct YarnRamp {
  explicit YarnRamp(const RopeConfig& c) {
    const auto d = static_cast<double>(c.dims);
    const auto dimension = [&](double turns) {
      const auto original = static_cast<double>(c.original_max_position_embeddings);
      return d * log_double(original / (turns * 2 * std::numbers::pi)) / (2 * log_double(c.theta));
    };
    low = dimension(c.beta_fast);
    high = dimension(c.beta_slow);
    if (c.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0);
    high = std::min(high, d - 1);
  }
  [[nodiscard]] double at(Index i) const {
    return std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
  }
  double low = 0;
  double high = 0;
};

// sqrt(1 + ln(factor) / ln(original context)): what makes attention as sharp at the longer context.
double longrope_magnitude(const RopeConfig& c) {
  if (c.factor <= 1) return 1;
  return std::sqrt(1 + log_double(c.factor) / log_double(static_cast<double>(c.original_max_position_embeddings)));
}

}  // namespace

double yarn_magnitude(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * log_double(factor) + 1 : 1; }

RopeTable::RopeTable(const RopeConfig& c, std::span<const float> divisors) {
  JERICHO_CHECK(divisors.empty() || static_cast<Index>(divisors.size()) == c.dims / 2, "{} divisors for {} dimensions",
                divisors.size(), c.dims);
  const YarnRamp ramp(c);
  for (Index i = 0; i < c.dims / 2; ++i) {
    double frequency = pow_double(c.theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.dims));
    switch (c.scaling) {
      case RopeScaling::kNone: break;
      case RopeScaling::kLinear: frequency /= c.factor; break;
      case RopeScaling::kLlama3: frequency = llama3_frequency(c, frequency); break;
      case RopeScaling::kYarn: frequency = frequency * (1 - ramp.at(i)) + frequency / c.factor * ramp.at(i); break;
      case RopeScaling::kLongRope:
        if (c.factors_in_file) break;  // they are the divisors
        frequency /= (c.long_context ? c.long_factor : c.short_factor)[static_cast<std::size_t>(i)];
        break;
    }
    if (!divisors.empty()) frequency /= static_cast<double>(divisors[static_cast<std::size_t>(i)]);
    // Within [0, 1] every position up to the largest context has an angle that base/math.h computes to the last bit.
    if (!(frequency >= 0 && frequency <= 1)) {
      throw Error(ErrorKind::kInput,
                  fmt::format("rope frequency {} is {} radians per token, expected 0 to 1; are rope_theta, the "
                              "scaling factor and rope_freqs of this model right?",
                              i, frequency));
    }
    frequencies_.push_back(frequency);
  }
  if (c.scaling == RopeScaling::kYarn) {
    magnitude_ = c.attention_factor.value_or(yarn_magnitude(c.factor));
  } else if (c.scaling == RopeScaling::kLongRope) {
    magnitude_ = c.attention_factor.value_or(longrope_magnitude(c));
  }
}

void RopeTable::angles(Index position, std::span<float> cos, std::span<float> sin) const {
  JERICHO_CHECK(cos.size() == frequencies_.size() && sin.size() == frequencies_.size(), "{} angles for {}", cos.size(),
                frequencies_.size());
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const auto [s, c] = sin_cos_double(static_cast<double>(position) * frequencies_[i]);
    cos[i] = static_cast<float>(c * magnitude_);
    sin[i] = static_cast<float>(s * magnitude_);
  }
}

}  // namespace jericho
