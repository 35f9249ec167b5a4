// Products of block formats with many tokens for AVX2 and AVX-512 VNNI, in the frame of token_blocks-inl.h: a quad of
// codes is loaded once for four tokens and, on AVX-512, a quad of activations once for two strips, so that loads stay
// below the multiplications. Integer dots are exact; the float additions are those of numerics.md 3. Start at
// BlockProduct::add_chunk(), where the time goes.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_tokens.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/token_blocks-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kChunkGroups = 8;  // unpacked at a time: 4 KiB of codes a strip

// Bytes are multiplied where they lie in the strip.
template <class Format>
inline constexpr bool kUnpacks = Format::kCodeBits != 8 || kHasTable<Format>;

// Some groups of a strip, unpacked: multiplicands of quads, scales in fp32.
template <class Format>
struct BlockChunk {
  const std::uint8_t* codes;  // [groups][8][64]
  alignas(64) std::uint8_t unpacked[kUnpacks<Format> ? kChunkGroups : 1][8][64];
  alignas(64) float scale[kChunkGroups][16];
  alignas(64) float minimum[kChunkGroups][16];
  alignas(64) std::int32_t sub[kChunkGroups][2][16];
  alignas(64) std::int32_t minimum_sub[kChunkGroups][2][16];
  alignas(64) std::int32_t zero[kChunkGroups][16];

  // Asks for the codes of as many groups to come as well.
  HWY_NOINLINE void unpack(const PackedMatrix& w, Index index, Index begin, Index end) {
    using Layout = StripLayout<Format>;
    const Index cols = w.cols;
    const auto* strip = reinterpret_cast<const std::uint8_t*>(w.data) + index * strip_bytes(w.dtype, cols).count;
    codes = kUnpacks<Format> ? unpacked[0][0] : strip + Layout::codes_offset(begin);
    for (Index g = begin; g < end; ++g) {
      const Index i = g - begin;
      const auto* next = reinterpret_cast<const char*>(strip + Layout::codes_offset(g + kChunkGroups));
#pragma GCC unroll 8
      for (Index byte = 0; byte < Layout::kGroupCodeBytes; byte += 64) _mm_prefetch(next + byte, _MM_HINT_T0);
      if constexpr (kUnpacks<Format>) {
        const GroupCodes group = group_codes<Format>(strip + Layout::codes_offset(g));
#pragma GCC unroll 8
        for (int q = 0; q < 8; ++q) store_bytes(group.quad[q], unpacked[i][q]);
      }
      if (kHasLongDots<Format> && i % Layout::dot_groups(begin, end) != 0) continue;
      const StripScales<Format> scales(strip + Layout::scales_offset(cols, g / Layout::kBlockGroups));
      const Index in_block = g % Layout::kBlockGroups;
      store(scales.scale(in_block), scale[i]);
      if constexpr (Format::kHasMin) store(scales.minimum(in_block), minimum[i]);
      if constexpr (Format::kHasZero) store_int(scales.zero(), zero[i]);
      for (int half = 0; half < 2; ++half) {
        if constexpr (Format::kHasSub) store_int(scales.sub(in_block, half), sub[i][half]);
        if constexpr (Format::kHasMinSub) store_int(scales.minimum_sub(in_block, half), minimum_sub[i][half]);
      }
    }
  }
};

// What a tile of tokens has for the groups of a chunk; the numbers side by side, so that one pointer reaches them.
template <class Format>
struct BlockTile {
  const std::int8_t* q8[kTileTokens];
  alignas(64) float scale[kTileTokens][kChunkGroups];
  alignas(64) float scaled_sum[kTileTokens][kChunkGroups];
  alignas(64) std::int32_t half_sum[kTileTokens][2 * kChunkGroups];
  alignas(64) std::int32_t start[kTileTokens][2 * kChunkGroups];  // -offset * sum of the codes, of halves

  HWY_NOINLINE void gather(const Activations& x, const Index* token, Index begin, Index end) {
    const Index groups = x.cols / kGroup;
    for (int t = 0; t < kTileTokens; ++t) {
      const Index at = token[t] * groups + begin;
      q8[t] = x.q8 + at * kGroup;
      gather_sums(x, at, end - begin, t);
    }
  }

 private:
  void gather_sums(const Activations& x, Index at, Index groups, int t);
};

#if HWY_TARGET == HWY_AVX3
// Half sums where dots run over several groups: each dot's sum, in all of its places.
template <class Format>
HWY_INLINE __m512i sums_of_dots(__m512i halves) {
  static_assert(kChunkGroups == 8 && (Format::kSpan != DotSpan::kBlock || StripLayout<Format>::kBlockGroups == 4));
  if (Format::kSpan == DotSpan::kSegment) return _mm512_set1_epi32(_mm512_reduce_add_epi32(halves));
  halves = _mm512_add_epi32(halves, _mm512_shuffle_epi32(halves, _MM_PERM_CDAB));
  halves = _mm512_add_epi32(halves, _mm512_shuffle_epi32(halves, _MM_PERM_BADC));
  return _mm512_add_epi32(halves, _mm512_shuffle_i32x4(halves, halves, _MM_PERM_CDAB));
}

template <class Format>
HWY_INLINE void BlockTile<Format>::gather_sums(const Activations& x, Index at, Index groups, int t) {
  const auto used = static_cast<__mmask8>((1 << groups) - 1);
  const auto used_halves = static_cast<__mmask16>((1 << (2 * groups)) - 1);
  _mm256_store_ps(scale[t], _mm256_maskz_loadu_ps(used, x.scale + at));
  if constexpr (Format::kHasMin) _mm256_store_ps(scaled_sum[t], _mm256_maskz_loadu_ps(used, x.scaled_sum + at));
  __m512i sums = _mm512_maskz_loadu_epi32(used_halves, x.half_sum + 2 * at);
  if constexpr (kHasLongDots<Format>) sums = sums_of_dots<Format>(sums);
  if constexpr (Format::kHasMinSub || Format::kHasZero) _mm512_store_si512(half_sum[t], sums);
  __m512i from = sums;
  if constexpr (!Format::kHasSub && !kHasLongDots<Format>) {
    from = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
  }
  _mm512_store_si512(start[t], _mm512_mullo_epi32(from, _mm512_set1_epi32(-Format::kOffset)));
}
#else
template <class Format>
HWY_INLINE void BlockTile<Format>::gather_sums(const Activations& x, Index at, Index groups, int t) {
  std::copy_n(x.scale + at, groups, scale[t]);
  if constexpr (Format::kHasMin) std::copy_n(x.scaled_sum + at, groups, scaled_sum[t]);
  std::int32_t sums[2 * kChunkGroups];
  std::copy_n(x.half_sum + 2 * at, 2 * groups, sums);
  if constexpr (kHasLongDots<Format>) {  // each dot's sum, in all of its places
    const Index halves = 2 * (Format::kSpan == DotSpan::kSegment ? groups : StripLayout<Format>::kBlockGroups);
    for (Index first = 0; first < 2 * groups; first += halves)
      std::fill_n(sums + first, halves, std::accumulate(sums + first, sums + first + halves, 0));
  }
  if constexpr (Format::kHasMinSub || Format::kHasZero) std::copy_n(sums, 2 * groups, half_sum[t]);
  for (Index h = 0; h < 2 * groups; ++h) {
    const bool halves_apart = Format::kHasSub || kHasLongDots<Format>;
    start[t][h] = -Format::kOffset * (halves_apart ? sums[h] : sums[h] + sums[h ^ 1]);
  }
}
#endif

#if HWY_TARGET == HWY_AVX3
// Integer dots of four quads or eight from kFirst on, of each strip and token of a tile.
template <class Format, int kStrips, int kFirst, int kQuads>
HWY_INLINE void tile_dots(const BlockChunk<Format>* w, const BlockTile<Format>& x, Index g,
                          I32x16 (*out)[kTileTokens]) {
  __m512i dot[kStrips][kTileTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTileTokens; ++t) {
    dot[0][t] = _mm512_set1_epi32(x.start[t][2 * g + (kFirst == 0 ? 0 : 1)]);
#pragma GCC unroll 2
    for (int s = 1; s < kStrips; ++s) dot[s][t] = dot[0][t];
  }
#pragma GCC unroll 8
  for (int i = kFirst; i < kFirst + kQuads; ++i) {
    __m512i codes[kStrips];
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) codes[s] = _mm512_load_si512(w[s].codes + (g * 8 + i) * 64);
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) {
      const __m512i activations = _mm512_set1_epi32(load_quad(x.q8[t] + g * kGroup + 4 * i));
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) dot[s][t] = _mm512_dpbusd_epi32(dot[s][t], codes[s], activations);
    }
  }
#pragma GCC unroll 2
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) out[s][t] = I32x16{dot[s][t]};
  }
}

// Integer dots that run over several groups, of the quads [begin, end) of a chunk. A function of its own that does
// nothing else: GCC 12 keeps the dots in registers here, and copies them about where code around the loop uses them as
// well, at half of the speed.
template <class Format, int kStrips>
HWY_NOINLINE void long_dots(const BlockChunk<Format>* w, const BlockTile<Format>& x, Index begin, Index end,
                            std::int32_t (*out)[kTileTokens][16]) {
  __m512i dot[kStrips][kTileTokens];
#pragma GCC unroll 4
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) dot[s][t] = _mm512_setzero_si512();
  }
  for (Index quad = begin; quad < end; ++quad) {
    __m512i codes[kStrips];
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) codes[s] = _mm512_load_si512(w[s].codes + quad * 64);
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) {
      const __m512i activations = _mm512_set1_epi32(load_quad(x.q8[t] + 4 * quad));
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) dot[s][t] = _mm512_dpbusd_epi32(dot[s][t], codes[s], activations);
    }
  }
#pragma GCC unroll 4
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) _mm512_store_si512(out[s][t], dot[s][t]);
  }
}

#else
// Adds kQuads quads of a strip and of four tokens: codes are loaded once for all of them. Pairs of products are added
// in 16 bits as far as they cannot overflow.
template <class Format, int kQuads>
HWY_INLINE void add_quads(const std::uint8_t* codes, const std::int8_t* const* x, I32x16* dot) {
  const auto load_half = [&](int i, int half) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 64 * i + 32 * half));
  };
  const auto add_dots = [&](int t, __m256i lo, __m256i hi) {
    dot[t].lo.raw = _mm256_add_epi32(dot[t].lo.raw, lo);
    dot[t].hi.raw = _mm256_add_epi32(dot[t].hi.raw, hi);
  };
  if constexpr (kQuadsIn16Bits<Format> == 0) {  // even and odd bytes apart, as 16 bits
#pragma GCC unroll 8
    for (int i = 0; i < kQuads; ++i) {
      const __m256i lo = load_half(i, 0), hi = load_half(i, 1), low_byte = _mm256_set1_epi16(0xff);
      const __m256i even_lo = _mm256_and_si256(lo, low_byte), odd_lo = _mm256_srli_epi16(lo, 8);
      const __m256i even_hi = _mm256_and_si256(hi, low_byte), odd_hi = _mm256_srli_epi16(hi, 8);
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) {
        const __m256i quad = _mm256_set1_epi32(load_quad(x[t] + 4 * i));
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(quad, 8), 8), odd = _mm256_srai_epi16(quad, 8);
        add_dots(t, _mm256_add_epi32(_mm256_madd_epi16(even_lo, even), _mm256_madd_epi16(odd_lo, odd)),
                 _mm256_add_epi32(_mm256_madd_epi16(even_hi, even), _mm256_madd_epi16(odd_hi, odd)));
      }
    }
  } else {
    constexpr int kStep = std::min(kQuads, kQuadsIn16Bits<Format>);
#pragma GCC unroll 8
    for (int first = 0; first < kQuads; first += kStep) {
      __m256i lo[kTileTokens], hi[kTileTokens];
#pragma GCC unroll 8
      for (int i = first; i < first + kStep; ++i) {
        const __m256i codes_lo = load_half(i, 0), codes_hi = load_half(i, 1);
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) {
          const __m256i quad = _mm256_set1_epi32(load_quad(x[t] + 4 * i));
          const __m256i pairs_lo = _mm256_maddubs_epi16(codes_lo, quad),
                        pairs_hi = _mm256_maddubs_epi16(codes_hi, quad);
          lo[t] = i == first ? pairs_lo : _mm256_add_epi16(lo[t], pairs_lo);
          hi[t] = i == first ? pairs_hi : _mm256_add_epi16(hi[t], pairs_hi);
        }
      }
      const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) add_dots(t, _mm256_madd_epi16(lo[t], ones), _mm256_madd_epi16(hi[t], ones));
    }
  }
}

// Integer dots of four quads or eight from kFirst on, of a strip and each token of a tile.
template <class Format, int kStrips, int kFirst, int kQuads>
HWY_INLINE void tile_dots(const BlockChunk<Format>* w, const BlockTile<Format>& x, Index g,
                          I32x16 (*out)[kTileTokens]) {
  static_assert(kStrips == 1, "sixteen registers hold the sums of one");
  const std::int8_t* q8[kTileTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTileTokens; ++t) {
    out[0][t] = set_int(x.start[t][2 * g + (kFirst == 0 ? 0 : 1)]);
    q8[t] = x.q8[t] + g * kGroup + 4 * kFirst;
  }
  add_quads<Format, kQuads>(w[0].codes + (g * 8 + kFirst) * 64, q8, out[0]);
}

// Integer dots that run over several groups, of the quads [begin, end) of a chunk, in whole groups.
template <class Format, int kStrips>
HWY_NOINLINE void long_dots(const BlockChunk<Format>* w, const BlockTile<Format>& x, Index begin, Index end,
                            std::int32_t (*out)[kTileTokens][16]) {
  static_assert(kStrips == 1, "sixteen registers hold the sums of one");
  I32x16 dot[kTileTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTileTokens; ++t) dot[t] = set_int(0);
  for (Index quad = begin; quad < end; quad += 8) {
    const std::int8_t* q8[kTileTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) q8[t] = x.q8[t] + 4 * quad;
    add_quads<Format, 8>(w[0].codes + quad * 64, q8, dot);
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTileTokens; ++t) store_int(dot[t], out[0][t]);
}
#endif

template <class Format>
struct BlockProduct {
  static constexpr Index kChunkGroups = kernels::HWY_NAMESPACE::kChunkGroups;
  static constexpr int kTileStrips = HWY_TARGET == HWY_AVX2 ? 1 : kHasLongDots<Format> ? 4 : 2;
  using Chunk = BlockChunk<Format>;
  using Tile = BlockTile<Format>;
  template <int kStrips>
  static void add_chunk(const Chunk* w, const Tile& x, Index groups, Part part, float* sums);

 private:
  template <int kStrips>
  static void add_long_dots(const Chunk* w, const Tile& x, Index groups, Part part, float* sums);
};

// Dots of a block lie within a chunk. Those of a segment run on from chunk to chunk: between two of them the sums hold
// integers.
template <class Format>
template <int kStrips>
HWY_INLINE void BlockProduct<Format>::add_long_dots(const Chunk* w, const Tile& x, Index groups, Part part,
                                                    float* sums) {
  constexpr bool kWholeSegment = Format::kSpan == DotSpan::kSegment;
  F32x16 acc[kStrips][kTileTokens];
  if (groups == 0) {
    load_sums<kStrips>(sums, part, acc);
    return store_sums<kStrips>(acc, part, sums);
  }
  const Index length = StripLayout<Format>::dot_groups(0, groups);
  for (Index g = 0; g < groups; g += length) {
    const Part own = {part.first && g == 0, part.last && g + length == groups, part.segment};
    alignas(64) std::int32_t dot[kStrips][kTileTokens][16];
    long_dots<Format, kStrips>(w, x, 8 * g, 8 * (g + length), dot);
    load_sums<kStrips>(sums, own, acc);
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
      const F32x16 scale = load(w[s].scale[g]);
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) {
        I32x16 integer = add(load_int(dot[s][t]), set_int(x.start[t][2 * g]));
        if constexpr (kWholeSegment) integer = add(integer, bits_of(acc[s][t]));
        if (kWholeSegment && !own.last) {
          acc[s][t] = from_bits(integer);
          continue;
        }
        if constexpr (Format::kHasZero) {
          integer = subtract(integer, multiply(load_int(w[s].zero[g]), set_int(x.half_sum[t][2 * g])));
        }
        acc[s][t] = fma(multiply(scale, set(x.scale[t][g])), to_float(integer), kWholeSegment ? zero() : acc[s][t]);
      }
    }
    store_sums<kStrips>(acc, own, sums);
  }
}

template <class Format>
template <int kStrips>
HWY_NOINLINE void BlockProduct<Format>::add_chunk(const Chunk* w, const Tile& x, Index groups, Part part, float* sums) {
  if constexpr (kHasLongDots<Format>) return add_long_dots<kStrips>(w, x, groups, part, sums);
  F32x16 acc[kStrips][kTileTokens];
  load_sums<kStrips>(sums, part, acc);
  for (Index g = 0; g < groups; ++g) {
    I32x16 dot[kStrips][kTileTokens];
    if constexpr (Format::kHasSub) {
      I32x16 second[kStrips][kTileTokens];
      tile_dots<Format, kStrips, 0, 4>(w, x, g, dot);
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
        const I32x16 sub = load_int(w[s].sub[g][0]);
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) dot[s][t] = multiply(dot[s][t], sub);
      }
      tile_dots<Format, kStrips, 4, 4>(w, x, g, second);
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
        const I32x16 sub = load_int(w[s].sub[g][1]);
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) dot[s][t] = add(dot[s][t], multiply(second[s][t], sub));
      }
    } else {
      tile_dots<Format, kStrips, 0, 8>(w, x, g, dot);
    }
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
      const F32x16 scale = load(w[s].scale[g]);
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) {
        I32x16 integer = dot[s][t];
        if constexpr (Format::kHasZero) {
          const std::int32_t sum = x.half_sum[t][2 * g] + x.half_sum[t][2 * g + 1];
          integer = subtract(integer, multiply(load_int(w[s].zero[g]), set_int(sum)));
        }
        acc[s][t] = fma(multiply(scale, set(x.scale[t][g])), to_float(integer), acc[s][t]);
        if constexpr (Format::kHasMinSub) {
          const I32x16 sum = add(multiply(load_int(w[s].minimum_sub[g][0]), set_int(x.half_sum[t][2 * g])),
                                 multiply(load_int(w[s].minimum_sub[g][1]), set_int(x.half_sum[t][2 * g + 1])));
          acc[s][t] = fma(multiply(load(w[s].minimum[g]), set(x.scale[t][g])), to_float(sum), acc[s][t]);
        } else if constexpr (Format::kHasMin) {
          acc[s][t] = fma(load(w[s].minimum[g]), set(x.scaled_sum[t][g]), acc[s][t]);
        }
      }
    }
  }
  store_sums<kStrips>(acc, part, sums);
}

}  // namespace

void matmul_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                   MatrixView<float> y) {
  visit_block_format(
      w.dtype, [&]<class Format>() { products_of_tokens<BlockProduct<Format>>(w, x, bias, strip_begin, strip_end, y); },
      [&] { JERICHO_CHECK(false, "{} is no block format", name(w.dtype)); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
