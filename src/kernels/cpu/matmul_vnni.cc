// Products of block formats with many tokens on AVX-512 VNNI. Two strips of sixteen rows meet tiles of four tokens: a
// quad of codes is loaded once for the tokens and a quad of activations once for the strips, so that loads stay below
// the multiplications. A chunk of groups is unpacked once for a block of tokens, which stays in the second cache while
// strips pass by. Same bits as one token at a time (numerics.md 3): integer dots are exact, and each token and row has
// its own accumulator, which takes the groups in order. Start at matmul_vnni(); add_chunk() is where the time goes.
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

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kBlockTokens = 64;  // share unpacked codes
constexpr Index kChunkGroups = 8;   // unpacked at a time: 4 KiB of codes a strip
constexpr int kTileTokens = 4;
constexpr int kTileStrips = 2;
constexpr Index kBlockStrips = 4;  // share what is gathered of the tokens; 16 KiB of codes

// Some groups of a strip, unpacked: multiplicands as vpdpbusd wants them, scales in fp32.
template <class Format>
struct Chunk {
  alignas(64) std::uint8_t codes[kChunkGroups][8][64];
  alignas(64) float scale[kChunkGroups][16];
  alignas(64) float minimum[kChunkGroups][16];
  alignas(64) std::int32_t sub[kChunkGroups][2][16];
  alignas(64) std::int32_t minimum_sub[kChunkGroups][2][16];
  alignas(64) std::int32_t zero[kChunkGroups][16];

  // Asks for the codes of as many groups to come as well.
  HWY_INLINE void unpack(const std::uint8_t* strip, Index cols, Index begin, Index end) {
    using Layout = StripLayout<Format>;
    for (Index g = begin; g < end; ++g) {
      const Index i = g - begin;
      const auto* next = reinterpret_cast<const char*>(strip + Layout::codes_offset(g + kChunkGroups));
#pragma GCC unroll 8
      for (Index byte = 0; byte < Layout::kGroupCodeBytes; byte += 64) _mm_prefetch(next + byte, _MM_HINT_T0);
      const GroupCodes unpacked = group_codes<Format>(strip + Layout::codes_offset(g));
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) _mm512_store_si512(codes[i][q], unpacked.quad[q]);
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
struct TokenTile {
  const std::int8_t* q8[kTileTokens];
  alignas(64) float scale[kTileTokens][kChunkGroups];
  alignas(64) float scaled_sum[kTileTokens][kChunkGroups];
  alignas(64) std::int32_t half_sum[kTileTokens][2 * kChunkGroups];
  alignas(64) std::int32_t start[kTileTokens][2 * kChunkGroups];  // -offset * sum of the codes, of halves

  template <class Format>
  HWY_INLINE void gather(const Activations& x, const Index* token, Index begin, Index end) {
    const Index groups = x.cols / kGroup;
    const auto used = static_cast<__mmask8>((1 << (end - begin)) - 1);
    const auto used_halves = static_cast<__mmask16>((1 << (2 * (end - begin))) - 1);
    for (int t = 0; t < kTileTokens; ++t) {
      const Index at = token[t] * groups + begin;
      q8[t] = x.q8 + at * kGroup;
      _mm256_store_ps(scale[t], _mm256_maskz_loadu_ps(used, x.scale + at));
      if constexpr (Format::kHasMin) _mm256_store_ps(scaled_sum[t], _mm256_maskz_loadu_ps(used, x.scaled_sum + at));
      const __m512i sums = _mm512_maskz_loadu_epi32(used_halves, x.half_sum + 2 * at);
      if constexpr (Format::kHasMinSub || Format::kHasZero) _mm512_store_si512(half_sum[t], sums);
      __m512i from = sums;
      if constexpr (!Format::kHasSub) from = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
      _mm512_store_si512(start[t], _mm512_mullo_epi32(from, _mm512_set1_epi32(-Format::kOffset)));
    }
  }
};

// Integer dots of four quads or eight from kFirst on, of each strip and token of a tile.
template <class Format, int kStrips, int kFirst, int kQuads>
HWY_INLINE void tile_dots(const Chunk<Format>* w, const TokenTile& x, Index g, __m512i (*dot)[kTileTokens]) {
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
    for (int s = 0; s < kStrips; ++s) codes[s] = _mm512_load_si512(w[s].codes[g][i]);
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) {
      std::int32_t quad;
      std::memcpy(&quad, x.q8[t] + g * kGroup + 4 * i, 4);
      const __m512i activations = _mm512_set1_epi32(quad);
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) dot[s][t] = _mm512_dpbusd_epi32(dot[s][t], codes[s], activations);
    }
  }
}

// The sums of a block of tokens. The tree over the eight segments is built as they come: a segment that ends takes the
// finished sums on its left with it, as many as its number has ones at its end, and is kept in the slot of that level.
constexpr int kLevels = 3;
constexpr int kRunning = kLevels;  // slot of a segment that is not finished, and of the whole tree at the end
struct BlockSums {
  alignas(
      64) float at[kLevels + 1][kBlockStrips / kTileStrips][kBlockTokens / kTileTokens][kTileStrips * kTileTokens * 16];
};
constexpr Index kSlot = sizeof(BlockSums) / (kLevels + 1) / sizeof(float);  // floats from one level to the next

// Which part of a segment a chunk is.
struct Part {
  bool first = false;
  bool last = false;
  int segment = 0;
};

template <int kStrips>
HWY_INLINE void add_sums(const float* sums, F32x16 (*acc)[kTileTokens]) {
#pragma GCC unroll 2
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) acc[s][t] = add(load(sums + (s * kTileTokens + t) * 16), acc[s][t]);
  }
}

// Adds the first `groups` groups of a chunk to the sums of a tile, which are at `sums` in the slot of level 0.
template <class Format, int kStrips>
HWY_NOINLINE void add_chunk(const Chunk<Format>* w, const TokenTile& x, Index groups, Part part, float* sums) {
  F32x16 acc[kStrips][kTileTokens];
  const float* before = sums + kRunning * kSlot;
#pragma GCC unroll 2
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) acc[s][t] = part.first ? zero() : load(before + (s * kTileTokens + t) * 16);
  }
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
  int level = kRunning;
  if (part.last) {
    for (level = 0; level < kLevels && (part.segment >> level & 1) != 0; ++level) {
      add_sums<kStrips>(sums + level * kSlot, acc);
    }
  }
  float* after = sums + level * kSlot;
#pragma GCC unroll 2
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) store(acc[s][t], after + (s * kTileTokens + t) * 16);
  }
}

// Strips [first, first + strips), a multiple of kStrips, times tokens [begin, begin + count), at most kBlockTokens. A
// tile's slots beyond its tokens repeat the last one and are dropped.
template <class Format, int kStrips>
HWY_NOINLINE void strips_times_block(const PackedMatrix& w, const Activations& x, const float* bias, Index first,
                                     Index strips, Index begin, Index count, MatrixView<float> y) {
  const Index bytes = strip_bytes(w.dtype, w.cols).count;
  const auto* packed = reinterpret_cast<const std::uint8_t*>(w.data) + first * bytes;
  const Index units = ceil_div(x.cols, w.unit);
  const Index tiles = ceil_div(count, kTileTokens);
  Index token[kBlockTokens];
  for (Index t = 0; t < tiles * kTileTokens; ++t) token[t] = begin + std::min(t, count - 1);
  Chunk<Format> chunks[kBlockStrips];
  BlockSums sums;
  for (int i = 0; i < kSegments; ++i) {
    Index g = std::min(x.cols, segment_begin(units, i) * w.unit) / kGroup;
    const Index end = std::min(x.cols, segment_begin(units, i + 1) * w.unit) / kGroup;
    Part part{true, false, i};
    do {  // once also for a segment of nothing, which is +0
      const Index last = std::min(g + kChunkGroups, end);
      part.last = last == end;
      for (Index s = 0; s < strips; ++s) chunks[s].unpack(packed + s * bytes, x.cols, g, last);
      for (Index t = 0; t < tiles; ++t) {
        TokenTile tile;
        tile.gather<Format>(x, token + t * kTileTokens, g, last);
        for (Index s = 0; s < strips; s += kStrips) {
          add_chunk<Format, kStrips>(chunks + s, tile, last - g, part, sums.at[0][s / kStrips][t]);
        }
      }
      part.first = false;
      g = last;
    } while (g < end);
  }
  for (Index t = 0; t < count; ++t) {
    for (Index s = 0; s < strips; ++s) {
      const float* tile = sums.at[kRunning][s / kStrips][t / kTileTokens];
      F32x16 total = load(tile + (s % kStrips * kTileTokens + t % kTileTokens) * 16);
      const Index row = (first + s) * kStripRows;
      if (bias != nullptr) total = add(total, load_up_to_16(bias + row, w.rows - row));
      store_up_to_16(total, y.data() + (begin + t) * y.row_stride() + row, w.rows - row);
    }
  }
}

template <class Format>
HWY_NOINLINE void matmul_format(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                Index strip_end, MatrixView<float> y) {
  const Index blocks = ceil_div(x.tokens, kBlockTokens);  // of like sizes
  const Index block = round_up(ceil_div(x.tokens, blocks), kTileTokens);
  for (Index t = 0; t < x.tokens; t += block) {
    const Index count = std::min(block, x.tokens - t);
    Index s = strip_begin;
    while (s + kTileStrips <= strip_end) {
      const Index strips = std::min(kBlockStrips, (strip_end - s) / kTileStrips * kTileStrips);
      strips_times_block<Format, kTileStrips>(w, x, bias, s, strips, t, count, y);
      s += strips;
    }
    if (s < strip_end) strips_times_block<Format, 1>(w, x, bias, s, 1, t, count, y);
  }
}

}  // namespace

void matmul_vnni(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y) {
  visit_block_format(
      w.dtype, [&]<class Format>() { matmul_format<Format>(w, x, bias, strip_begin, strip_end, y); },
      [&] { JERICHO_CHECK(false, "{} is no block format", name(w.dtype)); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif
