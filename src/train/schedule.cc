// Shapes of learning rates: see schedule.h.
#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/math.h"

namespace jericho {
namespace {

constexpr double kPi = 3.14159265358979323846;

double half_cosine(double part) { return 0.5 * (1 + sin_cos_double(kPi * part).cos); }

}  // namespace

double learning_rate(const Schedule& s, Index step, Index steps) {
  if (step < s.warmup) return s.peak * static_cast<double>(step) / static_cast<double>(s.warmup);
  const Index length = std::max<Index>(1, steps - s.warmup);
  const double part = std::clamp(static_cast<double>(step - s.warmup) / static_cast<double>(length), 0.0, 1.0);
  const double r = s.min_ratio;
  if (s.shape == "constant") return s.peak;
  if (s.shape == "linear") return s.peak * (1 - (1 - r) * part);
  if (s.shape == "cosine") return s.peak * (r + (1 - r) * half_cosine(part));
  const Index decay = s.decay > 0 ? s.decay : std::max<Index>(1, steps / 5);
  if (step < steps - decay) return s.peak;
  const double x = std::clamp(static_cast<double>(step - (steps - decay)) / static_cast<double>(decay), 0.0, 1.0);
  const double left = s.decay_shape == "linear" ? 1 - x : s.decay_shape == "cosine" ? half_cosine(x) : 1 - std::sqrt(x);
  return s.peak * (r + (1 - r) * left);
}

}  // namespace jericho
