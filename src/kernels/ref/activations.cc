// 8-bit groups and bf16 rows as docs/numerics.md 3 defines them. Read this first; never optimise it.
#include "kernels/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/block_formats.h"

void jericho::ref::quantize_q8(const float* x, Index count, Index padded, const Q8Row& out) {
  for (Index g = 0; g < padded / kGroup; ++g) {
    const auto value = [&](Index j) { return g * kGroup + j < count ? x[g * kGroup + j] : 0.0f; };
    float absmax = 0;
    bool finite = true;
    for (Index j = 0; j < kGroup; ++j) {
      finite = finite && std::isfinite(value(j));
      absmax = std::max(absmax, std::abs(value(j)));
    }
    const float scale = absmax / 127.0f;
    std::int32_t sums[2] = {0, 0};
    for (Index j = 0; j < kGroup; ++j) {
      float code = 0;
      if (finite && scale != 0) code = std::clamp(std::nearbyint(value(j) / scale), -127.0f, 127.0f);
      out.q8[g * kGroup + j] = static_cast<std::int8_t>(code);
      sums[j / 16] += static_cast<std::int32_t>(code);
    }
    out.scale[g] = finite ? scale : std::numeric_limits<float>::quiet_NaN();
    out.half_sum[2 * g] = sums[0];
    out.half_sum[2 * g + 1] = sums[1];
    out.scaled_sum[g] = out.scale[g] * static_cast<float>(sums[0] + sums[1]);
  }
}

void jericho::ref::round_bf16(const float* x, Index count, Index padded, BF16* out) {
  for (Index j = 0; j < padded; ++j) out[j] = to_bf16(j < count ? x[j] : 0.0f);
}
