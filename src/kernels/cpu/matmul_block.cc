// Products of block formats with 8-bit activations for AVX2 and AVX-512 VNNI: lanes are the sixteen rows of a strip, a
// strip's codes are streamed once per block of tokens, and each group's codes are unpacked once for all of them.
// Integer dots are exact in any order; the float additions are those of numerics.md 3. Start at strips_times_tokens().
#include <algorithm>
#include <array>
#include <numeric>

#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_block.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

// start + the sum over kQuads quads of code * activation, per row; `x` are the activations of the first of them.
#if HWY_TARGET == HWY_AVX3
template <class Format, int kFirst, int kQuads>
HWY_INLINE I32x16 quads_dot(const GroupCodes& codes, const std::int8_t* x, I32x16 start) {
  __m512i dot = start.raw;
#pragma GCC unroll 8
  for (int i = 0; i < kQuads; ++i) {
    dot = _mm512_dpbusd_epi32(dot, codes.quad[kFirst + i], _mm512_set1_epi32(load_quad(x + 4 * i)));
  }
  return I32x16{dot};
}
#else
// Pairs of products as 16 bits: how many quads can be added before they could overflow; a power of two, or 0.
template <class Format>
inline constexpr int kQuadsIn16Bits = [] {
  constexpr int kPairs = 32767 / (2 * 127 * kLargestMultiplicand<Format>);
  return kPairs >= 8 ? 8 : kPairs >= 4 ? 4 : kPairs >= 2 ? 2 : kPairs;
}();

template <class Format, int kQuads>
HWY_INLINE __m256i half_dot(const __m256i* codes, const std::int8_t* x, __m256i dot) {
  if constexpr (kQuadsIn16Bits<Format> == 0) {  // even and odd bytes apart, as 16 bits
#pragma GCC unroll 8
    for (int i = 0; i < kQuads; ++i) {
      const __m256i quad = _mm256_set1_epi32(load_quad(x + 4 * i));
      const __m256i even = _mm256_and_si256(codes[i], _mm256_set1_epi16(0xff));
      const __m256i odd = _mm256_srli_epi16(codes[i], 8);
      const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(quad, 8), 8);
      const __m256i x_odd = _mm256_srai_epi16(quad, 8);
      dot = _mm256_add_epi32(dot, _mm256_add_epi32(_mm256_madd_epi16(even, x_even), _mm256_madd_epi16(odd, x_odd)));
    }
  } else {
    constexpr int kStep = std::min(kQuads, kQuadsIn16Bits<Format>);
#pragma GCC unroll 4
    for (int first = 0; first < kQuads; first += kStep) {
      __m256i pairs = _mm256_maddubs_epi16(codes[first], _mm256_set1_epi32(load_quad(x + 4 * first)));
#pragma GCC unroll 8
      for (int i = first + 1; i < first + kStep; ++i) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[i], _mm256_set1_epi32(load_quad(x + 4 * i))));
      }
      dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }
  return dot;
}

template <class Format, int kFirst, int kQuads>
HWY_INLINE I32x16 quads_dot(const GroupCodes& codes, const std::int8_t* x, I32x16 start) {
  __m256i lo[kQuads];
  __m256i hi[kQuads];
#pragma GCC unroll 8
  for (int i = 0; i < kQuads; ++i) {
    lo[i] = codes.quad[kFirst + i].lo;
    hi[i] = codes.quad[kFirst + i].hi;
  }
  using Int = hn::Vec<IntTag>;
  return {Int{half_dot<Format, kQuads>(lo, x, start.lo.raw)}, Int{half_dot<Format, kQuads>(hi, x, start.hi.raw)}};
}
#endif

// The integer dot of a group with a token: code - kOffset, sub-scales and zero points applied.
template <class Format>
HWY_INLINE F32x16 group_dot(const GroupCodes& codes, const StripScales<Format>& scales, Index group,
                            const std::int8_t* x, const std::int32_t* half_sum) {
  if constexpr (Format::kHasSub) {
    const I32x16 first = quads_dot<Format, 0, 4>(codes, x, set_int(-Format::kOffset * half_sum[0]));
    const I32x16 second = quads_dot<Format, 4, 4>(codes, x + 16, set_int(-Format::kOffset * half_sum[1]));
    return to_float(add(multiply(scales.sub(group, 0), first), multiply(scales.sub(group, 1), second)));
  } else if constexpr (Format::kHasZero) {
    const std::int32_t sum = half_sum[0] + half_sum[1];
    const I32x16 dot = quads_dot<Format, 0, 8>(codes, x, set_int(-Format::kOffset * sum));
    return to_float(subtract(dot, multiply(scales.zero(), set_int(sum))));
  } else {
    return to_float(quads_dot<Format, 0, 8>(codes, x, set_int(-Format::kOffset * (half_sum[0] + half_sum[1]))));
  }
}

// Asks for what comes some 1.5 KiB of codes after group g of a strip, codes and scales; from the end of the strip on
// for the beginning of `next`. Past the last strip that is nobody's memory, which does nothing. So short a way ahead
// lines reach the first cache before they are used, and a share of the strips begins with few that nobody has asked
// for.
template <class Format>
HWY_INLINE void prefetch_ahead(const std::uint8_t* strip, const std::uint8_t* next, Index g, Index groups) {
  using Layout = StripLayout<Format>;
  constexpr Index kAhead = std::max<Index>(1, 1536 / Layout::kGroupCodeBytes);
  constexpr Index kScaleBytes = Layout::kFieldBytes * kStripRows / Layout::kBlockGroups;  // of a group, on average
  const Index at = g + kAhead < groups ? g + kAhead : g + kAhead - groups;
  const auto* from = reinterpret_cast<const char*>(g + kAhead < groups ? strip : next);
#pragma GCC unroll 16
  for (Index byte = 0; byte < Layout::kGroupCodeBytes; byte += 64) {
    _mm_prefetch(from + Layout::codes_offset(at) + byte, _MM_HINT_T0);
  }
#pragma GCC unroll 16
  for (Index byte = 0; byte < kScaleBytes; byte += 64) {
    _mm_prefetch(from + Layout::codes_offset(groups) + at * kScaleBytes + byte, _MM_HINT_T0);
  }
}

// Adds group g (the j-th of its block) to the accumulators of the tokens.
template <class Format, std::size_t kTokens>
HWY_INLINE void add_group(const GroupCodes& codes, const StripScales<Format>& scales, Index j, Index g, Index groups,
                          const Activations& x, const std::array<Index, kTokens>& token, F32x16* acc) {
  const F32x16 scale = scales.scale(j);
  F32x16 minimum = scale;
  if constexpr (Format::kHasMin) minimum = scales.minimum(j);
#pragma GCC unroll 8
  for (std::size_t t = 0; t < kTokens; ++t) {
    const Index at = token[t] * groups + g;
    const F32x16 dot = group_dot<Format>(codes, scales, j, x.q8 + at * kGroup, x.half_sum + 2 * at);
    acc[t] = fma(multiply(scale, set(x.scale[at])), dot, acc[t]);
    if constexpr (Format::kHasMinSub) {
      const I32x16 sum = add(multiply(scales.minimum_sub(j, 0), set_int(x.half_sum[2 * at])),
                             multiply(scales.minimum_sub(j, 1), set_int(x.half_sum[2 * at + 1])));
      acc[t] = fma(multiply(minimum, set(x.scale[at])), to_float(sum), acc[t]);
    } else if constexpr (Format::kHasMin) {
      acc[t] = fma(minimum, set(x.scaled_sum[at]), acc[t]);
    }
  }
}

// Adds the groups [begin, end) of a segment to acc[s][t], of strip s and token[t]. Strips are `bytes` apart; what comes
// next is asked for.
template <class Format, int kTokens, int kStrips>
HWY_INLINE void add_segment(const std::uint8_t* strips, Index bytes, const Activations& x,
                            const std::array<Index, kTokens>& token, Index begin, Index end,
                            F32x16 (*acc)[kTokens]) requires(!kHasLongDots<Format>) {
  using Layout = StripLayout<Format>;
  for (Index g = begin; g < end; ++g) {
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
      const std::uint8_t* strip = strips + s * bytes;
      prefetch_ahead<Format>(strip, strip + kStrips * bytes, g, x.cols / kGroup);
      const StripScales<Format> scales(strip + Layout::scales_offset(x.cols, g / Layout::kBlockGroups));
      const GroupCodes codes = group_codes<Format>(strip + Layout::codes_offset(g));
      add_group<Format>(codes, scales, g % Layout::kBlockGroups, g, x.cols / kGroup, x, token, acc[s]);
    }
  }
}

// The same where integer dots run over several groups and meet their scales at the end.
template <class Format, int kTokens, int kStrips>
HWY_INLINE void add_segment(const std::uint8_t* strips, Index bytes, const Activations& x,
                            const std::array<Index, kTokens>& token, Index begin, Index end,
                            F32x16 (*acc)[kTokens]) requires(kHasLongDots<Format>) {
  using Layout = StripLayout<Format>;
  const Index length = Layout::dot_groups(begin, end);
  for (Index first = begin; first < end; first += length) {
    I32x16 dot[kStrips][kTokens];
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) dot[s][t] = set_int(0);
    }
    for (Index g = first; g < first + length; ++g) {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        const std::uint8_t* strip = strips + s * bytes;
        prefetch_ahead<Format>(strip, strip + kStrips * bytes, g, x.cols / kGroup);
        const GroupCodes codes = group_codes<Format>(strip + Layout::codes_offset(g));
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          const std::int8_t* q8 = x.q8 + token[static_cast<std::size_t>(t)] * x.cols + g * kGroup;
          dot[s][t] = quads_dot<Format, 0, 8>(codes, q8, dot[s][t]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      const Index at = token[static_cast<std::size_t>(t)] * (x.cols / kGroup) + first;
      const std::int32_t sum = std::accumulate(x.half_sum + 2 * at, x.half_sum + 2 * (at + length), 0);
      for (int s = 0; s < kStrips; ++s) {
        const StripScales<Format> scales(strips + s * bytes +
                                         Layout::scales_offset(x.cols, first / Layout::kBlockGroups));
        I32x16 integer = subtract(dot[s][t], set_int(Format::kOffset * sum));
        if constexpr (Format::kHasZero) integer = subtract(integer, multiply(scales.zero(), set_int(sum)));
        acc[s][t] = fma(multiply(scales.scale(0), set(x.scale[at])), to_float(integer), acc[s][t]);
      }
    }
  }
}

// out[s * kTokens + i] = the products of the rows of strip s, of kStrips, with token[i]. Tokens may repeat: a short
// block is filled up with its last. One token alone takes several strips in turn, because memory feeds one stream of
// addresses at about half of the rate at which it feeds four.
template <class Format, int kTokens, int kStrips>
HWY_NOINLINE void strips_times_tokens(const std::uint8_t* strips, const PackedMatrix& w, const Activations& x,
                                      const std::array<Index, kTokens>& token, F32x16* out) {
  const Index bytes = strip_bytes(w.dtype, w.cols).count;
  F32x16 sums[kSegments][kStrips][kTokens];
  for (Index i = 0; i < kSegments; ++i) {
    const SegmentColumns segment = segment_columns(w, x.cols, i);
    F32x16 acc[kStrips][kTokens];
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) acc[s][t] = zero();
    }
    add_segment<Format, kTokens, kStrips>(strips, bytes, x, token, segment.begin / kGroup, segment.end / kGroup, acc);
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) sums[i][s][t] = acc[s][t];
    }
  }
  for (int s = 0; s < kStrips; ++s) {
    for (int t = 0; t < kTokens; ++t) {
      out[s * kTokens + t] = add(add(add(sums[0][s][t], sums[1][s][t]), add(sums[2][s][t], sums[3][s][t])),
                                 add(add(sums[4][s][t], sums[5][s][t]), add(sums[6][s][t], sums[7][s][t])));
    }
  }
}

// Strips from `first`, tokens [begin, begin + count).
template <class Format, int kTokens, int kStrips>
HWY_INLINE void strips_block(const PackedMatrix& w, const Activations& x, const float* bias, Index first, Index begin,
                             Index count, MatrixView<float> y) {
  const auto* strips = reinterpret_cast<const std::uint8_t*>(w.data) + first * strip_bytes(w.dtype, w.cols).count;
  std::array<Index, kTokens> token{};
  for (Index t = 0; t < kTokens; ++t) token[static_cast<std::size_t>(t)] = begin + std::min(t, count - 1);
  F32x16 out[kStrips * kTokens];
  strips_times_tokens<Format, kTokens, kStrips>(strips, w, x, token, out);
  for (Index s = 0; s < kStrips; ++s) {
    const Index row = (first + s) * kStripRows;
    const Index rows = w.rows - row;
    for (Index t = 0; t < count; ++t) {
      const F32x16 total = out[s * kTokens + t];
      store_up_to_16(bias != nullptr ? add(total, load_up_to_16(bias + row, rows)) : total,
                     y.data() + (begin + t) * y.row_stride() + row, rows);
    }
  }
}

template <class Format, int kTokens>
HWY_NOINLINE void matmul_few_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                    Index strip_end, Index begin, Index count, MatrixView<float> y) {
  Index s = strip_begin;
  for (; s + 4 <= strip_end; s += 4) strips_block<Format, kTokens, 4>(w, x, bias, s, begin, count, y);
  for (; s < strip_end; ++s) strips_block<Format, kTokens, 1>(w, x, bias, s, begin, count, y);
}

constexpr Index kFewTokens = 4;

template <class Format>
HWY_NOINLINE void matmul_format(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                Index strip_end, MatrixView<float> y) {
  Index begin = 0;  // of the last few tokens
#if HWY_TARGET == HWY_AVX3
  if (x.tokens > kFewTokens) return matmul_vnni(w, x, bias, strip_begin, strip_end, y);
#else
  if (x.tokens > kFewTokens) begin = x.tokens / kFewTokens * kFewTokens;
  for (Index s = strip_begin; s < strip_end; ++s) {
    for (Index t = 0; t < begin; t += kFewTokens) {
      strips_block<Format, kFewTokens, 1>(w, x, bias, s, t, kFewTokens, y);
    }
  }
#endif
  const Index few = x.tokens - begin;
  if (few == 1) matmul_few_tokens<Format, 1>(w, x, bias, strip_begin, strip_end, begin, few, y);
  if (few > 1) matmul_few_tokens<Format, kFewTokens>(w, x, bias, strip_begin, strip_end, begin, few, y);
}

void matmul(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
            MatrixView<float> y) {
  JERICHO_CHECK(x.cols == w.padded_cols() && x.form == activation_form(w.dtype), "x has {} columns, w {}", x.cols,
                w.cols);
  visit_block_format(
      w.dtype, [&]<class Format>() { matmul_format<Format>(w, x, bias, strip_begin, strip_end, y); },
      [&] { matmul_float(w, x, bias, strip_begin, strip_end, y); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
