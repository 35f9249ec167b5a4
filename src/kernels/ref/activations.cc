// 8-bit groups and bf16 rows as docs/numerics.md 3 defines them. Read this first; never optimise it.
#include "kernels/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/block_formats.h"

void jericho::ref::quantize_q8(const float* x, Index count, Index padded, Index group, const Q8Row& out) {
  const auto value = [&](Index c) { return c < count ? x[c] : 0.0f; };
  for (Index begin = 0; begin < padded; begin += group) {
    float absmax = 0;
    bool finite = true;
    for (Index c = begin; c < begin + group; ++c) {
      finite = finite && std::isfinite(value(c));
      absmax = std::max(absmax, std::abs(value(c)));
    }
    const float scale = absmax / 127.0f;
    for (Index g = begin / kGroup; g < (begin + group) / kGroup; ++g) {
      std::int32_t sums[2] = {0, 0};
      for (Index j = 0; j < kGroup; ++j) {
        const Index c = g * kGroup + j;
        float code = 0;
        if (finite && scale != 0) code = std::clamp(std::nearbyint(value(c) / scale), -127.0f, 127.0f);
        out.q8[c] = static_cast<std::int8_t>(code);
        sums[j / 16] += static_cast<std::int32_t>(code);
      }
      out.scale[g] = finite ? scale : std::numeric_limits<float>::quiet_NaN();
      out.half_sum[2 * g] = sums[0];
      out.half_sum[2 * g + 1] = sums[1];
      out.scaled_sum[g] = out.scale[g] * static_cast<float>(sums[0] + sums[1]);
    }
  }
}

void jericho::ref::round_bf16(const float* x, Index count, Index padded, BF16* out) {
  for (Index j = 0; j < padded; ++j) out[j] = to_bf16(j < count ? x[j] : 0.0f);
}
