// The two products of attention on one page tile, by page type: logits of sixteen positions, and a block's
// probabilities times its values. kHeads query heads share each load. The online softmax around them is in
// attention.cc.
#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "kernels/attention.h"
#include "kernels/kv_tile.h"

#if defined(JERICHO_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_ATTENTION_INL_H_
#undef JERICHO_ATTENTION_INL_H_
#else
#define JERICHO_ATTENTION_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

inline constexpr Index kMaxGroups = kMaxKeyWidth / 32;

// Queries in the form their page type multiplies with, zeros beyond D.
template <int kHeads>
struct Queries {
  alignas(64) float value[kHeads][kMaxKeyWidth];        // fp32; for bf16 pages scaled and rounded
  alignas(64) std::int16_t code[kHeads][kMaxKeyWidth];  // q8 pages: codes widened for the integer dot
  float scale[kHeads][kMaxGroups];                      // of the codes
};

// Elements d .. d + 15 of a row, zeros beyond D; nothing outside the row is read.
HWY_INLINE F32x16 load_elements(const float* row, Index d, Index D) { return load_up_to_16(row + d, D - d); }
template <class Half>
HWY_INLINE F32x16 load_halves(const Half* row, Index d, Index D) {
  if (d + 16 <= D) {
    if constexpr (std::is_same_v<Half, F16>) return load_f16(row + d);
    if constexpr (std::is_same_v<Half, BF16>) return load_bf16(row + d);
  }
  Half staged[16] = {};
  std::memcpy(staged, row + d, static_cast<std::size_t>(D - d) * sizeof(Half));
  return load_halves(staged, 0, 16);
}
HWY_INLINE F32x16 load_elements(const F16* row, Index d, Index D) { return load_halves(row, d, D); }
HWY_INLINE F32x16 load_elements(const BF16* row, Index d, Index D) { return load_halves(row, d, D); }

// logit[h][slot] for f32 and f16 pages: 16 dots at a time, by lanes over D.
template <class Element, int kHeads>
HWY_INLINE void float_logits(const Element* keys, Index D, const Queries<kHeads>& q, float scale,
                             float (*logit)[kAttentionBlock]) {
  constexpr int kSlots = 16 / kHeads;
  for (int first = 0; first < 16; first += kSlots) {
    F32x16 acc[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) acc[i] = zero();
    for (Index d = 0; d < D; d += 16) {
      F32x16 values[kHeads];
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) values[h] = load(q.value[h] + d);
#pragma GCC unroll 16
      for (int s = 0; s < kSlots; ++s) {
        const F32x16 key = load_elements(keys + (first + s) * D, d, D);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) acc[h * kSlots + s] = fma(values[h], key, acc[h * kSlots + s]);
      }
    }
    alignas(64) float dots[16];
    store(multiply(sums_of_16(acc), set(scale)), dots);
    for (int h = 0; h < kHeads; ++h) std::memcpy(logit[h] + first, dots + h * kSlots, sizeof(float) * kSlots);
  }
}

// bf16 pages: lanes are the sixteen positions; the scale is in q already.
template <int kHeads>
HWY_INLINE void bf16_logits(const BF16* keys, Index D, const Queries<kHeads>& q, float (*logit)[kAttentionBlock]) {
  F32x16 acc[kHeads];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) acc[h] = zero();
  for (Index d = 0; d < D; d += 32) {
    I32x16 pairs[16];
    if (d + 32 <= D) {
      transpose_pairs(reinterpret_cast<const std::byte*>(keys + d), D * 2, pairs);
    } else {
      alignas(64) BF16 padded[16][32] = {};
      for (Index s = 0; s < 16; ++s) std::memcpy(padded[s], keys + s * D + d, static_cast<std::size_t>(D - d) * 2);
      transpose_pairs(reinterpret_cast<const std::byte*>(padded), 64, pairs);
    }
    F32x16 even[kHeads];
    F32x16 odd[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) even[h] = odd[h] = zero();
#pragma GCC unroll 16
    for (int p = 0; p < 16; ++p) {
      const F32x16 key_even = even_of_pair(pairs[p]);
      const F32x16 key_odd = odd_of_pair(pairs[p]);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        even[h] = fma(set(q.value[h][d + 2 * p]), key_even, even[h]);
        odd[h] = fma(set(q.value[h][d + 2 * p + 1]), key_odd, odd[h]);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) acc[h] = add(acc[h], add(even[h], odd[h]));
  }
  for (int h = 0; h < kHeads; ++h) store(acc[h], logit[h]);
}

// Eight partial sums of the integer dot of 32 codes.
HWY_INLINE __m256i codes_dot(const std::int8_t* key, const std::int16_t* q) {
  const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(key));
#if HWY_TARGET == HWY_AVX3
  const __m512i sums = _mm512_madd_epi16(_mm512_cvtepi8_epi16(codes), _mm512_load_si512(q));
  return _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
#else
  const __m256i first = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(codes));
  const __m256i second = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(codes, 1));
  return _mm256_add_epi32(_mm256_madd_epi16(first, _mm256_load_si256(reinterpret_cast<const __m256i*>(q))),
                          _mm256_madd_epi16(second, _mm256_load_si256(reinterpret_cast<const __m256i*>(q + 16))));
#endif
}
HWY_INLINE __m256i sums_of_8_ints(const __m256i* v) {  // exact: any order
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

struct Q8Tile {
  const std::int8_t* codes;
  const F16* scales;  // [16][groups]
};
HWY_INLINE Q8Tile q8_tile(const std::byte* tile, Index D) {
  return {reinterpret_cast<const std::int8_t*>(tile), reinterpret_cast<const F16*>(tile + kPageTokens * D)};
}

// q8 pages. A group's load of 32 codes may reach past a short last group, into codes or scales of the same tile: the
// query has zeros there.
template <int kHeads>
HWY_INLINE void q8_logits(const Q8Tile& keys, Index D, const Queries<kHeads>& q, float scale,
                          float (*logit)[kAttentionBlock]) {
  const Index groups = kv_groups(D);
  alignas(64) float key_scale[kMaxGroups][16];
  for (Index i = 0; i < 16; ++i) {
    for (Index g = 0; g < groups; ++g) key_scale[g][i] = jericho::to_float(keys.scales[i * groups + g]);
  }
  for (int h = 0; h < kHeads; ++h) {
    F32x16 acc = zero();
    for (Index g = 0; g < groups; ++g) {
      __m256i parts[16];
#pragma GCC unroll 16
      for (int s = 0; s < 16; ++s) parts[s] = codes_dot(keys.codes + s * D + g * 32, q.code[h] + g * 32);
      alignas(64) std::int32_t dots[16];
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots), sums_of_8_ints(parts));
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots + 8), sums_of_8_ints(parts + 8));
      acc = fma(multiply(set(q.scale[h][g]), load(key_scale[g])), to_float(load_int(dots)), acc);
    }
    store(multiply(acc, set(scale)), logit[h]);
  }
}

// Row `slot` of a value tile as fp32.
template <class Element>
struct FloatValues {
  const Element* rows;
  Index D;
  HWY_INLINE F32x16 at(Index slot, Index d) const { return load_elements(rows + slot * D, d, D); }
};
struct Q8Values {
  Q8Tile tile;
  Index D;
  HWY_INLINE F32x16 at(Index slot, Index d) const {  // 16 codes: at most 15 past the row, inside the tile
    const float scale = jericho::to_float(tile.scales[slot * kv_groups(D) + d / 32]);
    return multiply(load_i8(tile.codes + slot * D + d), set(scale));
  }
};
template <KvType kType>
HWY_INLINE auto values_of(const std::byte* tile, Index D) {
  if constexpr (kType == KvType::kF32) return FloatValues<float>{reinterpret_cast<const float*>(tile), D};
  if constexpr (kType == KvType::kF16) return FloatValues<F16>{reinterpret_cast<const F16*>(tile), D};
  if constexpr (kType == KvType::kBF16) return FloatValues<BF16>{reinterpret_cast<const BF16*>(tile), D};
  if constexpr (kType == KvType::kQ8) return Q8Values{q8_tile(tile, D), D};
}

struct Visible {  // the positions of a block that take part: offsets from the block's start
  Index from, to;
};

// out[h][d ..] = fma chains over the visible positions, kParts vectors of d at a time.
template <KvType kType, int kHeads, int kParts>
HWY_INLINE void add_values(const std::byte* const* tiles, Index D, Visible visible, const float (*p)[kAttentionBlock],
                           Index d, float (*out)[kMaxKeyWidth]) {
  F32x16 acc[kHeads][kParts];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) acc[h][i] = load(out[h] + d + 16 * i);
  }
  for (Index j = visible.from; j < visible.to; ++j) {
    const auto values = values_of<kType>(tiles[j / kPageTokens], D);
    F32x16 value[kParts];
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) value[i] = values.at(j % kPageTokens, d + 16 * i);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const F32x16 weight = set(p[h][j]);
#pragma GCC unroll 4
      for (int i = 0; i < kParts; ++i) acc[h][i] = fma(weight, value[i], acc[h][i]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) store(acc[h][i], out[h] + d + 16 * i);
  }
}

// bf16 pages: per 32 positions an even and an odd chain, then out += even + odd. `p` is rounded to bf16 already.
template <int kHeads>
HWY_INLINE void add_bf16_values(const std::byte* const* tiles, Index D, Visible visible,
                                const float (*p)[kAttentionBlock], Index d, float (*out)[kMaxKeyWidth]) {
  for (Index half = 0; half < kAttentionBlock; half += 32) {
    F32x16 chain[kHeads][2];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) chain[h][0] = chain[h][1] = zero();
    for (Index pair = half; pair < half + 32; pair += 2) {
#pragma GCC unroll 2
      for (Index odd = 0; odd < 2; ++odd) {
        const Index j = pair + odd;
        if (j < visible.from || j >= visible.to) continue;
        const F32x16 value = values_of<KvType::kBF16>(tiles[j / kPageTokens], D).at(j % kPageTokens, d);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) chain[h][odd] = fma(set(p[h][j]), value, chain[h][odd]);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      store(add(load(out[h] + d), add(chain[h][0], chain[h][1])), out[h] + d);
    }
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
