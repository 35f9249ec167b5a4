// Products of block formats with many tokens on AVX-512 VNNI, in the frame of token_blocks-inl.h: a quad of codes is
// loaded once for four tokens and a quad of activations once for two strips, so that loads stay below the
// multiplications. Integer dots are exact; the float additions are those of numerics.md 3. Start at
// VnniProduct::add_chunk(), where the time goes.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_vnni.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/token_blocks-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kVnniGroups = 8;  // unpacked at a time: 4 KiB of codes a strip

// Bytes are multiplied where they lie in the strip.
template <class Format>
inline constexpr bool kUnpacks = Format::kCodeBits != 8 || kHasTable<Format>;

// Some groups of a strip, unpacked: multiplicands as vpdpbusd wants them, scales in fp32.
template <class Format>
struct VnniChunk {
  const std::uint8_t* codes;  // [groups][8][64]
  alignas(64) std::uint8_t unpacked[kUnpacks<Format> ? kVnniGroups : 1][8][64];
  alignas(64) float scale[kVnniGroups][16];
  alignas(64) float minimum[kVnniGroups][16];
  alignas(64) std::int32_t sub[kVnniGroups][2][16];
  alignas(64) std::int32_t minimum_sub[kVnniGroups][2][16];
  alignas(64) std::int32_t zero[kVnniGroups][16];

  // Asks for the codes of as many groups to come as well.
  HWY_NOINLINE void unpack(const PackedMatrix& w, Index index, Index begin, Index end) {
    using Layout = StripLayout<Format>;
    const Index cols = w.cols;
    const auto* strip = reinterpret_cast<const std::uint8_t*>(w.data) + index * strip_bytes(w.dtype, cols).count;
    codes = kUnpacks<Format> ? unpacked[0][0] : strip + Layout::codes_offset(begin);
    for (Index g = begin; g < end; ++g) {
      const Index i = g - begin;
      const auto* next = reinterpret_cast<const char*>(strip + Layout::codes_offset(g + kVnniGroups));
#pragma GCC unroll 8
      for (Index byte = 0; byte < Layout::kGroupCodeBytes; byte += 64) _mm_prefetch(next + byte, _MM_HINT_T0);
      if constexpr (kUnpacks<Format>) {
        const GroupCodes group = group_codes<Format>(strip + Layout::codes_offset(g));
#pragma GCC unroll 8
        for (int q = 0; q < 8; ++q) _mm512_store_si512(unpacked[i][q], group.quad[q]);
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
struct VnniTile {
  const std::int8_t* q8[kTileTokens];
  alignas(64) float scale[kTileTokens][kVnniGroups];
  alignas(64) float scaled_sum[kTileTokens][kVnniGroups];
  alignas(64) std::int32_t half_sum[kTileTokens][2 * kVnniGroups];
  alignas(64) std::int32_t start[kTileTokens][2 * kVnniGroups];  // -offset * sum of the codes, of halves

  // Half sums where dots run over several groups: each dot's sum, in all of its places.
  static HWY_INLINE __m512i sums_of_dots(__m512i halves) {
    static_assert(kVnniGroups == 8 && (Format::kSpan != DotSpan::kBlock || StripLayout<Format>::kBlockGroups == 4));
    if (Format::kSpan == DotSpan::kSegment) return _mm512_set1_epi32(_mm512_reduce_add_epi32(halves));
    halves = _mm512_add_epi32(halves, _mm512_shuffle_epi32(halves, _MM_PERM_CDAB));
    halves = _mm512_add_epi32(halves, _mm512_shuffle_epi32(halves, _MM_PERM_BADC));
    return _mm512_add_epi32(halves, _mm512_shuffle_i32x4(halves, halves, _MM_PERM_CDAB));
  }

  HWY_NOINLINE void gather(const Activations& x, const Index* token, Index begin, Index end) {
    const Index groups = x.cols / kGroup;
    const auto used = static_cast<__mmask8>((1 << (end - begin)) - 1);
    const auto used_halves = static_cast<__mmask16>((1 << (2 * (end - begin))) - 1);
    for (int t = 0; t < kTileTokens; ++t) {
      const Index at = token[t] * groups + begin;
      q8[t] = x.q8 + at * kGroup;
      _mm256_store_ps(scale[t], _mm256_maskz_loadu_ps(used, x.scale + at));
      if constexpr (Format::kHasMin) _mm256_store_ps(scaled_sum[t], _mm256_maskz_loadu_ps(used, x.scaled_sum + at));
      __m512i sums = _mm512_maskz_loadu_epi32(used_halves, x.half_sum + 2 * at);
      if constexpr (kHasLongDots<Format>) sums = sums_of_dots(sums);
      if constexpr (Format::kHasMinSub || Format::kHasZero) _mm512_store_si512(half_sum[t], sums);
      __m512i from = sums;
      if constexpr (!Format::kHasSub && !kHasLongDots<Format>) {
        from = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
      }
      _mm512_store_si512(start[t], _mm512_mullo_epi32(from, _mm512_set1_epi32(-Format::kOffset)));
    }
  }
};

// Integer dots of four quads or eight from kFirst on, of each strip and token of a tile.
template <class Format, int kStrips, int kFirst, int kQuads>
HWY_INLINE void tile_dots(const VnniChunk<Format>* w, const VnniTile<Format>& x, Index g, __m512i (*dot)[kTileTokens]) {
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
}

// Integer dots that run over several groups, of the quads [begin, end) of a chunk. A function of its own that does
// nothing else: GCC 12 keeps the dots in registers here, and copies them about where code around the loop uses them as
// well, at half of the speed.
template <class Format, int kStrips>
HWY_NOINLINE void long_dots(const VnniChunk<Format>* w, const VnniTile<Format>& x, Index begin, Index end,
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

template <class Format>
struct VnniProduct {
  static constexpr Index kChunkGroups = kVnniGroups;
  static constexpr int kTileStrips = kHasLongDots<Format> ? 4 : 2;
  using Chunk = VnniChunk<Format>;
  using Tile = VnniTile<Format>;
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
HWY_INLINE void VnniProduct<Format>::add_long_dots(const Chunk* w, const Tile& x, Index groups, Part part,
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
HWY_NOINLINE void VnniProduct<Format>::add_chunk(const Chunk* w, const Tile& x, Index groups, Part part, float* sums) {
  if constexpr (kHasLongDots<Format>) return add_long_dots<kStrips>(w, x, groups, part, sums);
  F32x16 acc[kStrips][kTileTokens];
  load_sums<kStrips>(sums, part, acc);
  for (Index g = 0; g < groups; ++g) {
    __m512i dot[kStrips][kTileTokens];
    if constexpr (Format::kHasSub) {
      __m512i second[kStrips][kTileTokens];
      tile_dots<Format, kStrips, 0, 4>(w, x, g, dot);
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
        const __m512i sub = _mm512_load_si512(w[s].sub[g][0]);
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) dot[s][t] = _mm512_mullo_epi32(dot[s][t], sub);
      }
      tile_dots<Format, kStrips, 4, 4>(w, x, g, second);
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
        const __m512i sub = _mm512_load_si512(w[s].sub[g][1]);
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) {
          dot[s][t] = _mm512_add_epi32(dot[s][t], _mm512_mullo_epi32(second[s][t], sub));
        }
      }
    } else {
      tile_dots<Format, kStrips, 0, 8>(w, x, g, dot);
    }
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
      const F32x16 scale = load(w[s].scale[g]);
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) {
        I32x16 integer{dot[s][t]};
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

void matmul_vnni(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y) {
  visit_block_format(
      w.dtype, [&]<class Format>() { products_of_tokens<VnniProduct<Format>>(w, x, bias, strip_begin, strip_end, y); },
      [&] { JERICHO_CHECK(false, "{} is no block format", name(w.dtype)); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif
