// AdamW element by element. Read this first; never optimise it.
#include "kernels/adamw.h"

#include <cmath>

void jericho::ref::adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v) {
  const float rest1 = 1.0f - step.beta1, rest2 = 1.0f - step.beta2;
  for (Index i = 0; i < count; ++i) {
    const float g = gradient[i] * step.scale;
    const float w = weight[i] * step.keep;
    m[i] = std::fma(m[i], step.beta1, rest1 * g);
    v[i] = std::fma(v[i], step.beta2, (rest2 * g) * g);
    const float root = std::sqrt(v[i]) / step.root_correction + step.epsilon;
    weight[i] = w - (step.step_size * m[i]) / root;
  }
}

void jericho::ref::move_weights(float factor, float keep, const float* g, Index count, float* w) {
  for (Index i = 0; i < count; ++i) w[i] = (w[i] - factor * g[i]) * keep;
}
