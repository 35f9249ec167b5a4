// Products of block formats on int8 tiles: tokens are the rows of a tile, the rows of a strip its columns. A tile holds
// the integer dots of one group, which are exact; float additions follow in vectors, in the order of numerics.md 3. The
// dots are a stream through four tiles and a ring of four buffers (tile_products-inl.h), so that the tiles multiply the
// groups to come while vectors add the group that came out. Start at int8_tokens(), then DotStream.
//                                                                                   Costs: docs/kernels.md#amx-costs
#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/matmul.h"

#if defined(JERICHO_MATMUL_AMX_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_MATMUL_AMX_INT8_INL_H_
#undef JERICHO_MATMUL_AMX_INT8_INL_H_
#else
#define JERICHO_MATMUL_AMX_INT8_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/tile_products-inl.h"
#include "kernels/cpu/tile_sums-inl.h"
#include "kernels/cpu/tiles-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kChunkGroups = 16;  // unpacked at a time: 8 KiB of codes, which stay in the first cache

// Columns of one integer dot: those that share an integer scale.
template <class Format>
inline constexpr Index kDotColumns = Format::kHasSub                    ? kGroup / 2
                                     : Format::kSpan == DotSpan::kBlock ? info(Format::kDType).block_elements
                                                                        : kGroup;
template <class Format>
inline constexpr Index kDotGroups = std::max<Index>(1, kDotColumns<Format> / kGroup);  // that end with a float addition

// Some groups of a strip, unpacked: signed codes as the tile wants them, and all scales as fp32, integers too.
template <class Format>
struct UnpackedGroups {
  template <bool kHas>
  using Lanes = float[kHas ? kChunkGroups : 1][16];
  alignas(64) std::uint8_t codes[kChunkGroups][kGroup * kStripRows];
  alignas(64) Lanes<true> scale;
  alignas(64) Lanes<Format::kHasMin> minimum;
  alignas(64) Lanes<Format::kHasSub> sub[2];
  alignas(64) Lanes<Format::kHasMinSub> minimum_sub[2];
  alignas(64) Lanes<Format::kHasZero> minus_zero;

  HWY_INLINE void unpack(const std::uint8_t* strip, Index cols, Index begin, Index end) {
    using Layout = StripLayout<Format>;
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(Format::kOffset));
    for (Index g = begin; g < end; ++g) {
      const Index i = g - begin;
      const std::uint8_t* group = strip + Layout::codes_offset(g);
      for (Index byte = 0; byte < Layout::kGroupCodeBytes; byte += 64) {  // of the chunk to come
        _mm_prefetch(reinterpret_cast<const char*>(group + kChunkGroups * Layout::kGroupCodeBytes + byte), _MM_HINT_T1);
      }
      const GroupCodes unpacked = group_codes<Format>(group);
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) _mm512_store_si512(codes[i] + 64 * q, _mm512_sub_epi8(unpacked.quad[q], offset));
      const StripScales<Format> scales(strip + Layout::scales_offset(cols, g / Layout::kBlockGroups));
      const Index in_block = g % Layout::kBlockGroups;
      store(scales.scale(in_block), scale[i]);
      if constexpr (Format::kHasMin) store(scales.minimum(in_block), minimum[i]);
      if constexpr (Format::kHasZero) store(negate(to_float(scales.zero())), minus_zero[i]);
      for (int half = 0; half < 2; ++half) {
        if constexpr (Format::kHasSub) store(to_float(scales.sub(in_block, half)), sub[half][i]);
        if constexpr (Format::kHasMinSub) store(to_float(scales.minimum_sub(in_block, half)), minimum_sub[half][i]);
      }
    }
  }
};

// What a tile's tokens bring to the groups of a chunk besides their codes, token by token, so that the loop over tokens
// has constant offsets.
template <class Format>
struct TokenScales {
  static constexpr bool kScaledSums = Format::kHasMin && !Format::kHasMinSub;
  template <bool kHas, Index kWidth>
  using Rows = float[kHas ? kTileTokens : 1][kWidth];
  alignas(64) Rows<true, kChunkGroups> scale;
  alignas(64) Rows<kScaledSums, kChunkGroups> scaled_sum;
  alignas(64) Rows<Format::kHasZero, kChunkGroups> sum;             // of a group's codes
  alignas(64) Rows<Format::kHasMinSub, 2 * kChunkGroups> half_sum;  // of each half's codes

  HWY_INLINE void gather(const Activations& x, Index token, Index tokens, Index begin, Index end) {
    const Index groups = x.cols / kGroup;
    const Index count = end - begin;
    const auto used = static_cast<__mmask16>((1u << count) - 1);
    const auto low = static_cast<__mmask16>((std::uint64_t{1} << (2 * count)) - 1);
    const auto high = static_cast<__mmask16>(((std::uint64_t{1} << (2 * count)) - 1) >> 16);
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    Index at = token * groups + begin;
    for (Index t = 0; t < kTileTokens; ++t, at += t < tokens ? groups : 0) {  // absent tokens repeat the last
      _mm512_store_ps(scale[t], _mm512_maskz_loadu_ps(used, x.scale + at));
      if constexpr (kScaledSums) _mm512_store_ps(scaled_sum[t], _mm512_maskz_loadu_ps(used, x.scaled_sum + at));
      if constexpr (Format::kHasZero || Format::kHasMinSub) {
        const __m512i first = _mm512_maskz_loadu_epi32(low, x.half_sum + 2 * at);
        const __m512i second = _mm512_maskz_loadu_epi32(high, x.half_sum + 2 * at + 16);
        if constexpr (Format::kHasZero) {
          __m512i sums = _mm512_add_epi32(_mm512_permutex2var_epi32(first, evens, second),
                                          _mm512_permutex2var_epi32(first, odds, second));
          if constexpr (kDotGroups<Format> == 4) {  // a dot's first group has the sum of all
            sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
            sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
          }
          _mm512_store_ps(sum[t], _mm512_cvtepi32_ps(sums));
        } else {
          _mm512_store_ps(half_sum[t], _mm512_cvtepi32_ps(first));
          _mm512_store_ps(half_sum[t] + 16, _mm512_cvtepi32_ps(second));
        }
      }
    }
  }
};

template <class Tiles, class Format>
using FormatDots = DotStream<Tiles, kDotColumns<Format>>;

// Adds group i of a chunk to the sums of a tile's tokens. Integers are below 2^24, so that fp32 multiplies and adds
// them exactly; an fma onto +0 keeps a zero positive, as an integer's is.
template <class Format>
HWY_INLINE void add_group(const UnpackedGroups<Format>& w, const TokenScales<Format>& x, Index i, const Dots& dots,
                          [[maybe_unused]] const Dots& second_dots, F32x16* acc) {
  const F32x16 scale = load(w.scale[i]);
#pragma GCC unroll 16
  for (int t = 0; t < kTileTokens; ++t) {
    F32x16 dot = to_float(load_int(dots[t]));
    if constexpr (Format::kHasSub) {
      dot = fma(load(w.sub[0][i]), dot, fma(load(w.sub[1][i]), to_float(load_int(second_dots[t])), zero()));
    }
    if constexpr (Format::kHasZero) dot = fma(load(w.minus_zero[i]), set(x.sum[t][i]), dot);
    acc[t] = fma(multiply(scale, set(x.scale[t][i])), dot, acc[t]);
    if constexpr (Format::kHasMinSub) {
      const F32x16 sum = fma(load(w.minimum_sub[0][i]), set(x.half_sum[t][2 * i]),
                             fma(load(w.minimum_sub[1][i]), set(x.half_sum[t][2 * i + 1]), zero()));
      acc[t] = fma(multiply(load(w.minimum[i]), set(x.scale[t][i])), sum, acc[t]);
    } else if constexpr (Format::kHasMin) {
      acc[t] = fma(load(w.minimum[i]), set(x.scaled_sum[t][i]), acc[t]);
    }
  }
}

// The groups [begin, end) of a chunk, added to the sums of a tile's tokens, from `token` on, as the stream brings their
// dots. `segment` is the one that group `begin` belongs to; returns that of group `end`.
template <class Tiles, class Format>
HWY_INLINE Index add_groups(FormatDots<Tiles, Format>& stream, const UnpackedGroups<Format>& w,
                            const TokenScales<Format>& x, const Segments& segments, Index segment, Index begin,
                            Index end, Index token, SegmentTree& sums) {
  for (; segment < kSegments; ++segment) {
    const Index first = segments.at[segment].begin / kGroup;
    const Index last = segments.at[segment].end / kGroup;
    if (first >= end && last > end) break;  // it begins where the chunk ends, or later
    float(*own)[16] = sums.at[SegmentTree::depth(segment)] + token;
    F32x16 acc[kTileTokens];
    if (first < begin) {
#pragma GCC unroll 16
      for (int t = 0; t < kTileTokens; ++t) acc[t] = load(own[t]);
    } else {
#pragma GCC unroll 16
      for (int t = 0; t < kTileTokens; ++t) acc[t] = zero();
    }
    for (Index g = std::max(begin, first); g < std::min(end, last); g += kDotGroups<Format>) {
      stream.step();
      if constexpr (Format::kHasSub) stream.step();
      const Dots& dots = stream.take();
      add_group<Format>(w, x, g - begin, dots, Format::kHasSub ? stream.take() : dots, acc);
    }
    if (last > end) {  // and goes on in the next chunk
#pragma GCC unroll 16
      for (int t = 0; t < kTileTokens; ++t) store(acc[t], own[t]);
      break;
    }
    sums.finish(segment, token, acc);
  }
  return segment;
}

constexpr Index kChunkStrips = 2;  // at a time: they share a tile of tokens while it is near, and its scales

// The groups [begin, end) of some strips times a block of tokens.
template <class Tiles, class Format>
HWY_NOINLINE Index add_chunk(const UnpackedGroups<Format>* w, Index strips, const Activations& x,
                             const TokenTiles& tiles, const Segments& segments, Index segment, Index begin, Index end,
                             Dots* ring, SegmentTree* sums) {
  const std::uint8_t* codes[kChunkStrips] = {};
  for (Index i = 0; i < strips; ++i) codes[i] = w[i].codes[0];
  FormatDots<Tiles, Format> stream(x.q8 + begin * kGroup, x.cols, {tiles.begin, static_cast<std::size_t>(tiles.count)},
                                   {codes, static_cast<std::size_t>(strips)}, (end - begin) * kGroup, ring);
  Index next = segment;
  for (Index tile = 0; tile < tiles.count; ++tile) {
    TokenScales<Format> scales;
    scales.gather(x, tiles.begin[tile], tiles.rows, begin, end);
    for (Index s = 0; s < strips; ++s) {
      next =
          add_groups<Tiles, Format>(stream, w[s], scales, segments, segment, begin, end, tile * kTileTokens, sums[s]);
    }
  }
  return next;
}

// All tokens times the strips of the range.
template <class Tiles, class Format>
HWY_NOINLINE void int8_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, MatrixView<float> y) {
  const Index bytes = strip_bytes(w.dtype, w.cols).count;
  constexpr Index kGroups = kDotGroups<Format>;
  const Index dots = x.cols / kGroup / kGroups;
  const Index chunks = ceil_div(dots * kGroups, kChunkGroups);  // of nearly equal size
  const Segments segments(w, x.cols);
  const TokenBlocks blocks(x.tokens);
  UnpackedGroups<Format> unpacked[kChunkStrips];
  alignas(64) Dots ring[kRing] = {};  // rows of absent tokens stay zero
  SegmentTree sums[kChunkStrips];
  Tiles::configure(FormatDots<Tiles, Format>::config(blocks.rows()));
  for (Index b = 0; b < blocks.count(); ++b) {  // outside, so that these tokens stay near while strips pass by
    const TokenTiles tiles = blocks.block(b);
    for (Index strip = strip_begin; strip < strip_end; strip += kChunkStrips) {
      const Index strips = std::min(kChunkStrips, strip_end - strip);
      const auto* data = reinterpret_cast<const std::uint8_t*>(w.data) + strip * bytes;
      Index segment = 0;
      for (Index c = 0; c < chunks; ++c) {
        const Index g = c * dots / chunks * kGroups;
        const Index end = (c + 1) * dots / chunks * kGroups;
        for (Index s = 0; s < strips; ++s) unpacked[s].unpack(data + s * bytes, x.cols, g, end);
        segment = add_chunk<Tiles, Format>(unpacked, strips, x, tiles, segments, segment, g, end, ring, sums);
      }
      for (Index s = 0; s < strips; ++s) sums[s].write(w, bias, (strip + s) * kStripRows, tiles, y);
    }
  }
  Tiles::release();
}

// --- Whole segments as one integer dot ----------------------------------------------------------------------------

// Tiles of two strips and two tiles of tokens: 0-3 their dots, 4-5 activations, 6-7 codes, which lie in the strip as
// the tile wants them.
inline TileConfig segments_config(Index tokens) {
  TileConfig config;
  for (int i = 0; i < 6; ++i) config.set(i, tokens, 64);
  for (int i = 6; i < 8; ++i) config.set(i, 16, 64);
  return config;
}

// What the rows of two strips and the tokens of two tiles meet along columns [begin, end): dots[2 * tile + strip], of
// unsigned codes. `x` are the activations of the tiles' first tokens, `codes` the strips' codes of column 0.
template <class Tiles>
HWY_INLINE void segment_dots(const std::array<const std::int8_t*, 2>& x, Index stride,
                             const std::array<const std::uint8_t*, 2>& codes, Index begin, Index end, Dots* dots) {
  Tiles::template zero<0>();
  Tiles::template zero<1>();
  Tiles::template zero<2>();
  Tiles::template zero<3>();
  for (Index c = begin; c < end; c += 64) {
    Tiles::template load<6>(codes[0] + c * kStripRows, 64);
    Tiles::template load<4>(x[0] + c, stride);
    Tiles::template dot_i8_u8<0, 4, 6>();
    Tiles::template load<7>(codes[1] + c * kStripRows, 64);
    Tiles::template dot_i8_u8<1, 4, 7>();
    Tiles::template load<5>(x[1] + c, stride);
    Tiles::template dot_i8_u8<2, 5, 6>();
    Tiles::template dot_i8_u8<3, 5, 7>();
  }
  Tiles::template store<0>(dots[0], 64);
  Tiles::template store<1>(dots[1], 64);
  Tiles::template store<2>(dots[2], 64);
  Tiles::template store<3>(dots[3], 64);
}

// All tokens times the strips of the range. A last strip or tile of tokens that is alone stands for two.
template <class Tiles, class Format>
HWY_NOINLINE void int8_segments(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                Index strip_end, MatrixView<float> y) {
  using Layout = StripLayout<Format>;
  static_assert(Format::kCodeBits == 8 && !kHasTable<Format> && !Format::kHasZero);
  const Index bytes = strip_bytes(w.dtype, w.cols).count;
  const Index groups = x.cols / kGroup;
  const Segments segments(w, x.cols);
  const TokenBlocks blocks(x.tokens);
  alignas(64) Dots dots[4] = {};  // rows of absent tokens stay zero
  SegmentTree sums[2];
  float scales[kBlockTokens] = {};  // of a segment, and -offset * the sum of its codes
  std::int32_t start[kBlockTokens] = {};
  Tiles::configure(segments_config(blocks.rows()));
  for (Index b = 0; b < blocks.count(); ++b) {
    const TokenTiles tiles = blocks.block(b);
    for (Index strip = strip_begin; strip < strip_end; strip += 2) {
      const Index strips = std::min<Index>(2, strip_end - strip);
      const auto* first = reinterpret_cast<const std::uint8_t*>(w.data) + strip * bytes;
      const std::array<const std::uint8_t*, 2> data = {first, first + (strips - 1) * bytes};
      for (Index i = 0; i < kSegments; ++i) {
        const Index begin = segments.at[i].begin;
        const Index end = segments.at[i].end;
        for (Index t = 0; t < tiles.count * kTileTokens && begin < end; ++t) {
          const Index token = tiles.begin[t / kTileTokens] + std::min(t % kTileTokens, tiles.rows - 1);
          const std::int32_t* half_sum = x.half_sum + 2 * token * groups;
          scales[t] = x.scale[token * groups + begin / kGroup];
          start[t] = -Format::kOffset * std::accumulate(half_sum + begin / 16, half_sum + end / 16, 0);
        }
        for (Index tile = 0; tile < tiles.count; tile += 2) {
          const Index count = std::min<Index>(2, tiles.count - tile);
          const std::array<const std::int8_t*, 2> q8 = {x.q8 + tiles.begin[tile] * x.cols,
                                                        x.q8 + tiles.begin[tile + count - 1] * x.cols};
          if (begin < end) segment_dots<Tiles>(q8, x.cols, data, begin, end, dots);
          for (Index s = 0; s < strips; ++s) {
            for (Index j = 0; j < count; ++j) {
              const Index token = (tile + j) * kTileTokens;
              F32x16 acc[kTileTokens];
              std::fill_n(acc, kTileTokens, zero());
              if (begin < end) {
                const Index block = begin / Layout::kBlockElements;
                const StripScales<Format> weight(data[static_cast<std::size_t>(s)] +
                                                 Layout::scales_offset(x.cols, block));
#pragma GCC unroll 16
                for (int t = 0; t < kTileTokens; ++t) {
                  const I32x16 integer = add(load_int(dots[2 * j + s][t]), set_int(start[token + t]));
                  acc[t] = fma(multiply(weight.scale(0), set(scales[token + t])), to_float(integer), zero());
                }
              }
              sums[s].finish(i, token, acc);
            }
          }
        }
      }
      for (Index s = 0; s < strips; ++s) sums[s].write(w, bias, (strip + s) * kStripRows, tiles, y);
    }
  }
  Tiles::release();
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
