// Rounding to block formats for AVX2 and AVX-512: the bytes of the twin in quantize_rows.cc for finite values. Formats
// with one scale in 32 values take a block at a time. The searches of the K-quants take sixteen sub-blocks at a time,
// one per lane, so that every sum is the twin's, in its order. Compiled once per target; start at quantize_row().
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/block_scales.h"
#include "kernels/cpu/file_rows_targets.h"
#include "kernels/quantize_rows.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize_rows.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/block_codes-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE void store_code_bytes(F32x16 codes, std::uint8_t* p) {  // integers in [-128, 127]
  store_i8(to_int(codes), reinterpret_cast<std::int8_t*>(p));
}

// --- One scale in a block of 32 --------------------------------------------------------------------------------------

// The lanes in which a equals b, as bits.
HWY_INLINE std::uint32_t equal_lanes(F32x16 a, F32x16 b) {
#if HWY_TARGET == HWY_AVX3
  return _mm512_cmp_ps_mask(a.raw, b.raw, _CMP_EQ_OQ);
#else
  const auto bits = [](__m256 equal) HWY_ATTR { return static_cast<std::uint32_t>(_mm256_movemask_ps(equal)); };
  return bits(_mm256_cmp_ps(a.lo.raw, b.lo.raw, _CMP_EQ_OQ)) | bits(_mm256_cmp_ps(a.hi.raw, b.hi.raw, _CMP_EQ_OQ)) << 8;
#endif
}
HWY_INLINE std::uint32_t equal_lanes(F32x16 a, F32x16 b, float value) {
  return equal_lanes(a, set(value)) | equal_lanes(b, set(value)) << 16;
}

HWY_INLINE float first_of_largest_magnitude(const float* x, F32x16 a, F32x16 b) {
  const float magnitude = maximum(greater(abs(a), abs(b)));
  const std::uint32_t lanes = equal_lanes(abs(a), abs(b), magnitude);
  return magnitude > 0 && lanes != 0 ? x[std::countr_zero(lanes)] : 0.0f;
}

HWY_INLINE F32x16 truncated_codes(F32x16 value, float largest) {
  return lesser(greater(value, zero()), set(largest));  // to_int() truncates
}

template <class Format>
HWY_INLINE void encode_32(const float* x, std::uint8_t* codes, std::uint8_t* fields) {
  const F32x16 a = load(x), b = load(x + 16);
  if constexpr (Format::kDType == DType::kQ8_0) {
    const float d = maximum(greater(abs(a), abs(b))) / 127.0f;
    put_half(d, fields);
    const F32x16 id = set(inverse(d));
    const auto code = [id](F32x16 v) HWY_ATTR {  // half away from zero; what is beyond 127 becomes 0
      const F32x16 scaled = multiply(v, id);
      const F32x16 whole = to_float(to_int(scaled));
      const F32x16 rest = subtract(scaled, whole);
      F32x16 rounded =
          add(whole, where_less(abs(rest), set(0.5f), zero(), where_less(scaled, zero(), set(-1.0f), set(1.0f))));
      return where_greater(abs(rounded), set(127.0f), zero(), rounded);
    };
    store_code_bytes(code(a), codes);
    store_code_bytes(code(b), codes + 16);
    store_32(_mm256_xor_si256(load_32(codes), _mm256_set1_epi8(-128)), codes);
  } else if constexpr (Format::kHasMin) {
    constexpr int kLargest = (1 << Format::kCodeBits) - 1;
    const float low = -maximum(greater(negate(a), negate(b))), high = maximum(greater(a, b));
    const std::uint32_t lows = equal_lanes(a, b, low), highs = equal_lanes(a, b, high);
    const float least = lows != 0 ? x[std::countr_zero(lows)] : low;  // as minmax_element(): -0 or +0 is one of them
    const float most = highs != 0 ? x[31 - std::countl_zero(highs)] : high;
    const float d = (most - least) / static_cast<float>(kLargest);
    put_half(d, fields);
    put_half(least, fields + 2);
    const F32x16 id = set(inverse(d)), base = set(least), half = set(0.5f);
    const auto code = [=](F32x16 v) HWY_ATTR {
      return truncated_codes(add(multiply(subtract(v, base), id), half), static_cast<float>(kLargest));
    };
    store_code_bytes(code(a), codes);
    store_code_bytes(code(b), codes + 16);
  } else {
    constexpr auto kOffset = static_cast<float>(Format::kOffset);
    const float d = first_of_largest_magnitude(x, a, b) / -kOffset;
    put_half(d, fields);
    const F32x16 id = set(inverse(d)), half = set(kOffset + 0.5f);
    const auto code = [=](F32x16 v) HWY_ATTR { return truncated_codes(add(multiply(v, id), half), 2 * kOffset - 1); };
    store_code_bytes(code(a), codes);
    store_code_bytes(code(b), codes + 16);
  }
}

template <class Format>
HWY_INLINE void quantize_blocks_of_32(const float* x, Index cols, std::uint8_t* block) {
  using Layout = StripLayout<Format>;
  for (Index c = 0; c < cols; c += kGroup, block += Layout::kBlockBytes) {
    alignas(64) std::array<std::uint8_t, kGroup> codes;
    std::array<std::uint8_t, Layout::kFieldBytes> fields;
    encode_32<Format>(x + c, codes.data(), fields.data());
    join_codes<Format>(codes.data(), block);
    scatter_fields<Format>(fields.data(), block);
  }
}

// --- K-quants: sixteen sub-blocks, one per lane ----------------------------------------------------------------------

HWY_INLINE float spread_of(const float* block) {
  F32x16 squares = zero();
  for (Index j = 0; j < 256; j += 16) squares = fma(load(block + j), load(block + j), squares);
  return std::sqrt(2.0f * sum(squares) / 256.0f);
}

template <int kLength>
struct SubBlocks {
  F32x16 x[kLength];
  F32x16 w[kLength];  // what an error of each counts
};

// `spreads` by lane.
template <int kLength>
HWY_INLINE void load_sub_blocks(const float* values, const float* spreads, SubBlocks<kLength>& out) {
  I32x16 turned[16];
  for (int part = 0; part < kLength; part += 16) {
    transpose_pairs(reinterpret_cast<const std::byte*>(values + part), kLength * 4, turned);
    for (int j = 0; j < 16; ++j) out.x[part + j] = from_bits(turned[j]);
  }
  const F32x16 spread = load(spreads);
  for (int j = 0; j < kLength; ++j) out.w[j] = add(spread, abs(out.x[j]));
}

HWY_INLINE F32x16 rounded_product(F32x16 a, F32x16 b) {
  return subtract(fma(a, b, set(kNoFraction)), set(kNoFraction));
}

HWY_INLINE F32x16 fit_scales(const SubBlocks<16>& sub, int n) {
  const F32x16 least = set(static_cast<float>(-n)), most = set(static_cast<float>(n - 1));
  F32x16 magnitude = zero(), largest = zero();
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) {
    const F32x16 size = abs(sub.x[j]);
    largest = where_less(magnitude, size, sub.x[j], largest);
    magnitude = greater(size, magnitude);
  }
  F32x16 best = zero(), scale = zero();
  for (int i = 0; i < kScaleTrials; i += 2) {  // two at a time: one would wait for its own sums
    F32x16 steps[2], xl[2], ll[2];
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const float step = -(static_cast<float>(n) + 0.1f * static_cast<float>(i + t - kScaleTrials / 2));
      steps[t] = divide(set(step), largest);
      xl[t] = ll[t] = zero();
    }
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      const F32x16 x = sub.x[j], w = sub.w[j];
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        const F32x16 l = lesser(greater(rounded_product(x, steps[t]), least), most);
        const F32x16 wl = multiply(w, l);
        xl[t] = fma(wl, x, xl[t]);
        ll[t] = fma(wl, l, ll[t]);
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const F32x16 fit = divide(xl[t], ll[t]);
      const F32x16 gain = multiply(fit, xl[t]);
      scale = where_greater(gain, best, fit, scale);
      best = where_greater(gain, best, gain, best);
    }
  }
  return where_less(magnitude, set(kNoSpread), zero(), scale);
}

struct ScalesAndMinima {
  F32x16 scale, minimum;
};

template <int kLength>
HWY_INLINE ScalesAndMinima fit_with_minima(const SubBlocks<kLength>& sub, int n) {
  F32x16 least = zero(), high = sub.x[0];
  for (int j = 0; j < kLength; ++j) {
    least = lesser(sub.x[j], least);
    high = greater(sub.x[j], high);
  }
  const F32x16 range = subtract(high, least);
  const F32x16 inverse_range = divide(set(1.0f), range);
  F32x16 y[kLength];
  F32x16 w_sum = zero(), wy_sum = zero();
  for (int j = 0; j < kLength; ++j) {
    y[j] = subtract(sub.x[j], least);
    w_sum = add(w_sum, sub.w[j]);
    wy_sum = fma(sub.w[j], y[j], wy_sum);
  }
  const F32x16 shortfall = multiply(least, fma(least, w_sum, add(wy_sum, wy_sum)));
  const F32x16 most = set(static_cast<float>(n));
  ScalesAndMinima best = {zero(), zero()};
  F32x16 best_gain = zero();
  for (int i = 0; i < kPairTrials; i += 2) {
    F32x16 steps[2], wl[2], wll[2], wyl[2];
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      steps[t] = multiply(set(static_cast<float>(n) - 0.9f + 0.05f * static_cast<float>(i + t)), inverse_range);
      wl[t] = wll[t] = wyl[t] = zero();
    }
#pragma GCC unroll 4
    for (int j = 0; j < kLength; ++j) {
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        const F32x16 l = lesser(rounded_product(y[j], steps[t]), most);
        const F32x16 weighted = multiply(sub.w[j], l);
        wl[t] = add(wl[t], weighted);
        wll[t] = fma(weighted, l, wll[t]);
        wyl[t] = fma(weighted, y[j], wyl[t]);
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const F32x16 product = multiply(w_sum, wll[t]);
      const F32x16 determinant = fma(negate(wl[t]), wl[t], product);
      const F32x16 shift = fma(wll[t], wy_sum, negate(multiply(wl[t], wyl[t])));
      // has_minimum of the twin, as 1 or 0.
      const F32x16 enough = where_greater(determinant, multiply(set(kLeastDeterminant), product), set(1.0f), zero());
      const F32x16 has = where_greater(fma(least, determinant, shift), zero(), zero(), enough);
      const F32x16 wxl = fma(least, wl[t], wyl[t]);
      const F32x16 divisor = where_greater(has, zero(), determinant, wll[t]);
      const F32x16 dividend = where_greater(has, zero(), fma(w_sum, wyl[t], negate(multiply(wy_sum, wl[t]))), wxl);
      const F32x16 inverse = divide(set(1.0f), divisor);
      const F32x16 fit = multiply(dividend, inverse);
      const F32x16 offset = multiply(shift, inverse);
      const F32x16 gain =
          where_greater(has, zero(), fma(fit, wyl[t], multiply(offset, wy_sum)), fma(fit, wxl, negate(shortfall)));
      const F32x16 minimum = where_greater(has, zero(), negate(add(offset, least)), zero());
      best.scale = where_greater(gain, best_gain, fit, best.scale);
      best.minimum = where_greater(gain, best_gain, minimum, best.minimum);
      best_gain = where_greater(gain, best_gain, gain, best_gain);
    }
  }
  return {where_less(range, set(kNoSpread), zero(), best.scale),
          where_less(range, set(kNoSpread), negate(least), best.minimum)};
}

// The codes of one block, given its scale fields, and both into their places.
template <class Format>
HWY_INLINE void write_super_block(const float* x, const std::uint8_t* fields, std::uint8_t* block) {
  constexpr auto kMost = static_cast<float>((1 << Format::kCodeBits) - 1);
  alignas(64) std::array<std::uint8_t, 256> codes;
  for (int i = 0; i < 16; ++i) {
    const SubBlockScale scale = sub_block_scale<Format>(fields, i);
    F32x16 code = rint(multiply(subtract(load(x + 16 * i), set(scale.minimum)), set(scale.inverse)));
    code = add(code, set(static_cast<float>(Format::kOffset)));
    store_code_bytes(lesser(greater(code, zero()), set(kMost)), codes.data() + 16 * i);
  }
  join_codes<Format>(codes.data(), block);
  scatter_fields<Format>(fields, block);
}

// One lane per sub-block: a block where sixteen values share a scale, two where 32 do.
template <class Format>
HWY_INLINE void quantize_super_blocks(const float* x, int blocks, std::uint8_t* to) {
  constexpr int kLength = kSubBlock<Format>;
  constexpr int kLanes = 256 / kLength;  // of a block
  using Layout = StripLayout<Format>;
  alignas(64) std::array<float, 16> spreads, scales, minima;
  for (int b = 0; b < 16 / kLanes; ++b) {
    std::fill_n(spreads.begin() + b * kLanes, kLanes, spread_of(x + 256 * b));
  }
  SubBlocks<kLength> sub;
  load_sub_blocks(x, spreads.data(), sub);
  if constexpr (Format::kHasMin) {
    const ScalesAndMinima fit = fit_with_minima(sub, (1 << Format::kCodeBits) - 1);
    store(fit.scale, scales.data());
    store(fit.minimum, minima.data());
  } else {
    store(fit_scales(sub, Format::kOffset), scales.data());
  }
  for (int b = 0; b < blocks; ++b) {
    std::array<std::uint8_t, Layout::kFieldBytes> fields{};
    const std::span block_scales = std::span(scales).subspan(static_cast<std::size_t>(b * kLanes), kLanes);
    if constexpr (Format::kHasMin) {
      const std::span block_minima = std::span(minima).subspan(static_cast<std::size_t>(b * kLanes), kLanes);
      put_scales<Format>(block_scales, block_minima, fields.data());
    } else {
      put_scales<Format>(block_scales, fields.data());
    }
    write_super_block<Format>(x + 256 * b, fields.data(), to + b * Layout::kBlockBytes);
  }
}

template <class Format>
HWY_INLINE void quantize_k(const float* x, Index cols, std::uint8_t* to) {
  constexpr Index kAtOnce = kSubBlock<Format> == 32 ? 512 : 256;
  const Index whole = cols / kAtOnce * kAtOnce;
  for (Index c = 0; c < whole; c += kAtOnce) {
    quantize_super_blocks<Format>(x + c, kAtOnce / 256, to + c / 256 * StripLayout<Format>::kBlockBytes);
  }
  if (whole < cols) {  // the last of an odd number of blocks, beside itself
    alignas(64) std::array<float, 512> twice;
    std::copy_n(x + whole, 256, twice.begin());
    std::copy_n(x + whole, 256, twice.begin() + 256);
    quantize_super_blocks<Format>(twice.data(), 1, to + whole / 256 * StripLayout<Format>::kBlockBytes);
  }
}

// --- Rows ------------------------------------------------------------------------------------------------------------

template <class Format>
inline constexpr bool kIsKQuant = info(Format::kDType).block_elements == 256 &&
                                  (Format::kHasSub || Format::kScales == ScaleKind::kSixBitPairs);
template <class Format>
inline constexpr bool kIsBlockOf32 =
    Format::kDType == DType::kQ4_0 || Format::kDType == DType::kQ4_1 || Format::kDType == DType::kQ5_0 ||
    Format::kDType == DType::kQ5_1 || Format::kDType == DType::kQ8_0;

}  // namespace

void quantize_row(DType dtype, const float* x, Index cols, std::byte* row) {
  const Index whole = cols / 16 * 16;  // of plain types
  if (dtype == DType::kF16) {
    for (Index c = 0; c < whole; c += 16) store_f16(load(x + c), reinterpret_cast<F16*>(row) + c);
    return jericho::quantize_row(dtype, x + whole, cols - whole, row + 2 * whole);
  }
  if (dtype == DType::kBF16) {
    for (Index c = 0; c < whole; c += 16) store_bf16(round_to_bf16(load(x + c)), reinterpret_cast<BF16*>(row) + c);
    return jericho::quantize_row(dtype, x + whole, cols - whole, row + 2 * whole);
  }
  visit_block_format(
      dtype,
      [&]<class Format>() HWY_ATTR {
        if constexpr (kIsBlockOf32<Format>) {
          quantize_blocks_of_32<Format>(x, cols, reinterpret_cast<std::uint8_t*>(row));
        } else if constexpr (kIsKQuant<Format>) {
          quantize_k<Format>(x, cols, reinterpret_cast<std::uint8_t*>(row));
        } else {
          jericho::quantize_row(dtype, x, cols, row);
        }
      },
      [&] { jericho::quantize_row(dtype, x, cols, row); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
