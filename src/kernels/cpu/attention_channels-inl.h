// Logits of keys that lie in codes per channel (kernels/channel_keys.h): the query takes a block's scales once, then
// every pair of columns is one load of sixteen bytes per tile, positions in lanes, and two fma per row. Start at
// channel_logits().
#include <algorithm>

#include "kernels/attention.h"
#include "kernels/channel_keys.h"

#if defined(JERICHO_ATTENTION_CHANNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_ATTENTION_CHANNELS_INL_H_
#undef JERICHO_ATTENTION_CHANNELS_INL_H_
#else
#define JERICHO_ATTENTION_CHANNELS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/attention-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

// What becomes of the rows' queries in one block of keys.
struct ChannelQueries {
  alignas(64) float scale[kMaxKeyWidth + 16];  // of the block's columns, zeros beyond D
  alignas(64) float least[kMaxKeyWidth + 16];
  alignas(64) float scaled[kMaxRowValues];  // [rows][stride] q * scale
  float base[kMaxRows];                     // of each row, the sum of q * least
};

// Scales and least values of a block from its four tiles.
HWY_INLINE void load_channels(const std::byte* const* tiles, Index D, Index stride, ChannelQueries& out) {
  const Index columns = channel_columns(D);
  for (Index t = 0, first = 0; first < D; ++t, first += columns) {
    const auto* scales = reinterpret_cast<const F16*>(tiles[t] + kPageTokens * ceil_div(D, 2));
    const Index count = std::min(columns, D - first);
    for (Index c = 0; c < count; c += 16) {  // what is stored past `count` is zero, and the next tile's
      store(load_halves(scales, c, count), out.scale + first + c);
      store(load_halves(scales + columns, c, count), out.least + first + c);
    }
  }
  for (Index d = D; d < stride; ++d) out.scale[d] = out.least[d] = 0;
}

HWY_INLINE void scale_query(const float* q, Index stride, Index row, ChannelQueries& out) {
  F32x16 lanes = zero();
  for (Index d = 0; d < stride; d += 16) {
    const F32x16 value = load(q + d);
    store(multiply(value, load(out.scale + d)), out.scaled + row * stride + d);
    lanes = fma(value, load(out.least + d), lanes);
  }
  out.base[row] = sum(lanes);
}

// The codes of two columns at sixteen positions, as fp32.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE void load_code_pair(const std::byte* bytes, F32x16& even, F32x16& odd) {
  const __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  even = F32x16{_mm512_permutexvar_ps(both, codes)};  // which looks at the lowest four bits
  odd = F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), codes)};
}
inline constexpr int kChainVectors = 4;  // rows times tiles whose chains registers hold
#else
HWY_INLINE void load_code_pair(const std::byte* bytes, F32x16& even, F32x16& odd) {
  const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)), low = _mm_set1_epi8(15);
  const auto to_floats = [](__m128i codes) HWY_ATTR {
    using Half = decltype(F32x16{}.lo);
    return F32x16{Half{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes))},
                  Half{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)))}};
  };
  even = to_floats(_mm_and_si128(both, low));
  odd = to_floats(_mm_and_si128(_mm_srli_epi16(both, 4), low));
}
inline constexpr int kChainVectors = 2;
#endif

// logit[r][16 t + slot] of kRows rows and kTiles tiles. `later` are tiles whose lines are asked for on the way.
template <int kRows, int kTiles>
HWY_INLINE void channel_dots(const std::byte* const* tiles, const std::byte* const* later, const ChannelQueries& q,
                             Index D, Index stride, Index row, float scale, float (*logit)[kAttentionBlock]) {
  F32x16 even[kRows][kTiles], odd[kRows][kTiles];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) even[r][t] = odd[r][t] = zero();
  }
  for (Index d = 0; d < D; d += 2) {
    const Index at = d / 2 * kPageTokens;
    if (later != nullptr && at % 64 == 0) {
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) _mm_prefetch(reinterpret_cast<const char*>(later[t] + at), _MM_HINT_T0);
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      F32x16 code_even, code_odd;
      load_code_pair(tiles[t] + at, code_even, code_odd);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const float* scaled = q.scaled + (row + r) * stride + d;
        even[r][t] = fma(set(scaled[0]), code_even, even[r][t]);
        odd[r][t] = fma(set(scaled[1]), code_odd, odd[r][t]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      const F32x16 product = add(set(q.base[row + r]), add(even[r][t], odd[r][t]));
      store(multiply(product, set(scale)), logit[r] + t * kPageTokens);
    }
  }
}

// All positions of a block that lies in codes, for rows row .. row + kRows - 1, whose queries are scaled.
template <int kRows>
HWY_INLINE void channel_logits(const std::byte* const* tiles, const std::byte* const* later, const ChannelQueries& q,
                               Index D, Index stride, Index row, float scale, float (*logit)[kAttentionBlock]) {
  constexpr int kTiles = std::max(kChainVectors / kRows, 1);
  for (Index t = 0; t < kBlockPages; t += kTiles) {
    channel_dots<kRows, kTiles>(tiles + t, later == nullptr ? nullptr : later + t, q, D, stride, row, scale,
                                reinterpret_cast<float(*)[kAttentionBlock]>(&logit[0][t * kPageTokens]));
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif

#endif  // per-target guard
