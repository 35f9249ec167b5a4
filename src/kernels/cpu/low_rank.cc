// Products of low rank for AVX2 and AVX-512: columns side by side, four vectors of them at a time so that their chains
// overlap. Compiled once per target; gives the bits of kernels/ref/low_rank.cc.
#include "kernels/low_rank.h"

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/low_rank.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

// What becomes of 16 outputs y, given what they gain.
HWY_INLINE F32x16 gained(F32x16 y, F32x16 d) { return where_equal(d, zero(), y, add(y, d)); }

HWY_INLINE F32x16 with_gains(F32x16 y, F32x16 d, const RowGains& gains, Index n, Index count) {
  if (gains.gain == nullptr) return gained(y, d);
  const F32x16 g = load_up_to_16(gains.gain + n, count);
  F32x16 scaled;
  if (gains.bias == nullptr) {
    scaled = multiply(gained(y, d), g);
  } else {
    const F32x16 b = load_up_to_16(gains.bias + n, count);
    scaled = add(multiply(gained(subtract(y, b), d), g), b);
  }
  return where_equal(g, set(1.0f), gained(y, d), scaled);
}

void low_rank_add(MatrixView<const float> u, MatrixView<const float> m, const RowGains& gains, MatrixView<float> y) {
  const Index R = m.extent(0), N = y.extent(1), stride = m.row_stride();
  constexpr Index kTogether = 64;
  for (Index t = 0; t < y.extent(0); ++t) {
    const float* factors = u.row(t).data();
    float* row = y.row(t).data();
    Index n = 0;
    for (; n + kTogether <= N; n += kTogether) {
      F32x16 d0 = zero(), d1 = zero(), d2 = zero(), d3 = zero();
      const float* column = m.data() + n;
      for (Index r = 0; r < R; ++r, column += stride) {
        const F32x16 factor = set(factors[r]);
        d0 = fma(factor, load(column), d0);
        d1 = fma(factor, load(column + 16), d1);
        d2 = fma(factor, load(column + 32), d2);
        d3 = fma(factor, load(column + 48), d3);
      }
      store(with_gains(load(row + n), d0, gains, n, 16), row + n);
      store(with_gains(load(row + n + 16), d1, gains, n + 16, 16), row + n + 16);
      store(with_gains(load(row + n + 32), d2, gains, n + 32, 16), row + n + 32);
      store(with_gains(load(row + n + 48), d3, gains, n + 48, 16), row + n + 48);
    }
    for (; n < N; n += 16) {
      F32x16 d = zero();
      for (Index r = 0; r < R; ++r) d = fma(set(factors[r]), load_up_to_16(m.row(r).data() + n, N - n), d);
      store_up_to_16(with_gains(load_up_to_16(row + n, N - n), d, gains, n, N - n), row + n, N - n);
    }
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
