// Matrix products on AMX tiles: int8 for block formats (64 tokens share a strip's unpacked codes; tokens are the rows
// of a tile) and bf16 (tokens as rows again; for up to four tokens the weights' own rows are the tile and each token is
// a column). The tiles hold integer dots of one group, which are exact, or the bf16 product of numerics.md 3, which is
// their own; the float additions around them are the definition's. Few tokens of a block format go to the VNNI kernel.
// Start at matmul_on_tiles().
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#if defined(JERICHO_MATMUL_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_MATMUL_AMX_INL_H_
#undef JERICHO_MATMUL_AMX_INL_H_
#else
#define JERICHO_MATMUL_AMX_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/tiles-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kTileTokens = 16;
constexpr Index kBlockTokens = 64;  // that share unpacked weights
constexpr Index kFewTokens = 4;     // up to here a tile of tokens would be mostly empty

// Segment sums of a block of tokens, lanes are the rows of a strip.
struct BlockSums {
  alignas(64) float at[kSegments][kBlockTokens][16];
};

HWY_INLINE void store_tokens(const BlockSums& sums, const PackedMatrix& w, const float* bias, Index row, Index begin,
                             Index count, MatrixView<float> y) {
  const Index rows = w.rows - row;
  for (Index t = 0; t < count; ++t) {
    F32x16 s[kSegments];
    for (int i = 0; i < kSegments; ++i) s[i] = load(sums.at[i][t]);
    F32x16 total = add(add(add(s[0], s[1]), add(s[2], s[3])), add(add(s[4], s[5]), add(s[6], s[7])));
    if (bias != nullptr) total = add(total, load_up_to_16(bias + row, rows));
    store_up_to_16(total, y.data() + (begin + t) * y.row_stride() + row, rows);
  }
}

struct Span {
  Index begin, end;  // columns of a segment
};
HWY_INLINE Span segment_columns(const PackedMatrix& w, Index cols, Index i) {
  const Index units = ceil_div(cols, w.unit);
  return {std::min(cols, segment_begin(units, i) * w.unit), std::min(cols, segment_begin(units, i + 1) * w.unit)};
}

// --- Block formats -------------------------------------------------------------------------------------------------

constexpr Index kChunkGroups = 8;  // unpacked at a time: 4 KiB of codes

// Some groups of a strip, unpacked: signed codes as the tile wants them, scales in fp32.
template <class Format>
struct UnpackedGroups {
  alignas(64) std::uint8_t codes[kChunkGroups][8 * 64];
  alignas(64) float scale[kChunkGroups][16];
  alignas(64) float minimum[kChunkGroups][16];
  alignas(64) std::int32_t sub[kChunkGroups][2][16];
  alignas(64) std::int32_t minimum_sub[kChunkGroups][2][16];
  alignas(64) std::int32_t zero[kChunkGroups][16];

  HWY_INLINE void unpack(const std::uint8_t* strip, Index cols, Index begin, Index end) {
    using Layout = StripLayout<Format>;
    for (Index g = begin; g < end; ++g) {
      const Index i = g - begin;
      const GroupCodes unpacked = group_codes<Format>(strip + Layout::codes_offset(g));
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) {
        const __m512i offset = _mm512_set1_epi8(static_cast<char>(Format::kOffset));
        _mm512_store_si512(codes[i] + 64 * q, _mm512_sub_epi8(unpacked.quad[q], offset));
      }
      const StripScales<Format> scales(strip + Layout::scales_offset(cols, g / Layout::kBlockGroups));
      const Index in_block = g % Layout::kBlockGroups;
      store(scales.scale(in_block), scale[i]);
      if constexpr (Format::kHasMin) store(scales.minimum(in_block), minimum[i]);
      if constexpr (Format::kHasSub) {
        store_int(scales.sub(in_block, 0), sub[i][0]);
        store_int(scales.sub(in_block, 1), sub[i][1]);
      }
      if constexpr (Format::kHasZero) store_int(scales.zero(), zero[i]);
      if constexpr (Format::kHasMinSub) {
        store_int(scales.minimum_sub(in_block, 0), minimum_sub[i][0]);
        store_int(scales.minimum_sub(in_block, 1), minimum_sub[i][1]);
      }
    }
  }
};

template <class Format>
TileConfig int8_config(Index tokens) {  // tiles 0-1 sums [tokens][16], 2-3 activations, 4-5 codes
  constexpr Index kColumns = Format::kHasSub ? 16 : 32;
  TileConfig config;
  for (int i = 0; i < 2; ++i) {
    config.set(i, tokens, 64);
    config.set(2 + i, tokens, kColumns);
    config.set(4 + i, kColumns / 4, 64);
  }
  return config;
}

// Integer dots of one group: dots[0], and dots[1] for the second half where halves have scales of their own.
template <class Tiles, class Format>
HWY_INLINE void tile_dots(const std::int8_t* x, Index stride, const std::uint8_t* codes, std::int32_t (*dots)[16][16]) {
  Tiles::template zero<0>();
  Tiles::template load<2>(x, stride);
  Tiles::template load<4>(codes, 64);
  Tiles::template dot_i8<0, 2, 4>();
  Tiles::template store<0>(dots[0], 64);
  if constexpr (Format::kHasSub) {
    Tiles::template zero<1>();
    Tiles::template load<3>(x + 16, stride);
    Tiles::template load<5>(codes + 256, 64);
    Tiles::template dot_i8<1, 3, 5>();
    Tiles::template store<1>(dots[1], 64);
  }
}

// The scales of a tile's tokens for the groups of a chunk, side by side: the loop below then has constant offsets.
struct TokenScales {
  alignas(64) float at[kTileTokens][kChunkGroups];
  HWY_INLINE void gather(const float* scales, Index groups, Index begin, Index end, const Index* token) {
    const auto used = static_cast<__mmask8>((1 << (end - begin)) - 1);
#pragma GCC unroll 16
    for (int t = 0; t < kTileTokens; ++t) {
      _mm256_store_ps(at[t], _mm256_maskz_loadu_ps(used, scales + token[t] * groups + begin));
    }
  }
};

struct TokenHalfSums {  // the same for the sums of half groups
  alignas(64) std::int32_t at[kTileTokens][2 * kChunkGroups];
  HWY_INLINE void gather(const std::int32_t* sums, Index groups, Index begin, Index end, const Index* token) {
    const auto used = static_cast<__mmask16>((1 << (2 * (end - begin))) - 1);
#pragma GCC unroll 16
    for (int t = 0; t < kTileTokens; ++t) {
      _mm512_store_si512(at[t], _mm512_maskz_loadu_epi32(used, sums + 2 * (token[t] * groups + begin)));
    }
  }
};

// Adds the groups [begin, end) to the sums of one tile of tokens.
template <class Tiles, class Format>
HWY_INLINE void add_groups(const UnpackedGroups<Format>& w, const Activations& x, Index begin, Index end,
                           const Index* token, float (*sums)[16]) {
  const Index groups = x.cols / kGroup;
  alignas(64) std::int32_t dots[2][2][16][16];  // two groups in flight
  TokenScales scales;
  TokenScales scaled_sums;
  scales.gather(x.scale, groups, begin, end, token);
  TokenHalfSums half_sums;
  if constexpr (Format::kHasMinSub || Format::kHasZero) {
    half_sums.gather(x.half_sum, groups, begin, end, token);
  } else if constexpr (Format::kHasMin) {
    scaled_sums.gather(x.scaled_sum, groups, begin, end, token);
  }
  F32x16 acc[kTileTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTileTokens; ++t) acc[t] = load(sums[t]);
  tile_dots<Tiles, Format>(x.q8 + token[0] * x.cols + begin * kGroup, x.cols, w.codes[0], dots[0]);
  for (Index g = begin; g < end; ++g) {
    const Index i = g - begin;
    if (g + 1 < end) {
      tile_dots<Tiles, Format>(x.q8 + token[0] * x.cols + (g + 1) * kGroup, x.cols, w.codes[i + 1], dots[(i + 1) % 2]);
    }
    const std::int32_t(*dot)[16][16] = dots[i % 2];
    const F32x16 scale = load(w.scale[i]);
#pragma GCC unroll 16
    for (int t = 0; t < kTileTokens; ++t) {
      I32x16 integer = load_int(dot[0][t]);
      if constexpr (Format::kHasSub) {
        integer = add(multiply(load_int(w.sub[i][0]), integer), multiply(load_int(w.sub[i][1]), load_int(dot[1][t])));
      }
      if constexpr (Format::kHasZero) {
        const std::int32_t sum = half_sums.at[t][2 * i] + half_sums.at[t][2 * i + 1];
        integer = subtract(integer, multiply(load_int(w.zero[i]), set_int(sum)));
      }
      acc[t] = fma(multiply(scale, set(scales.at[t][i])), to_float(integer), acc[t]);
      if constexpr (Format::kHasMinSub) {
        const I32x16 sum = add(multiply(load_int(w.minimum_sub[i][0]), set_int(half_sums.at[t][2 * i])),
                               multiply(load_int(w.minimum_sub[i][1]), set_int(half_sums.at[t][2 * i + 1])));
        acc[t] = fma(multiply(load(w.minimum[i]), set(scales.at[t][i])), to_float(sum), acc[t]);
      } else if constexpr (Format::kHasMin) {
        acc[t] = fma(load(w.minimum[i]), set(scaled_sums.at[t][i]), acc[t]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTileTokens; ++t) store(acc[t], sums[t]);
}

// A strip times tokens [begin, begin + count): tiles of `tile_tokens`, as configured. Slots of a tile beyond its tokens
// repeat the last token and are dropped.
template <class Tiles, class Format>
HWY_NOINLINE void strip_times_block(const std::uint8_t* strip, const PackedMatrix& w, const Activations& x, Index begin,
                                    Index count, BlockSums& sums) {
  Index token[kBlockTokens];
  for (Index t = 0; t < kBlockTokens; ++t) token[t] = begin + std::min(t, count - 1);
  UnpackedGroups<Format> unpacked;
  for (Index i = 0; i < kSegments; ++i) {
    const Span segment = segment_columns(w, x.cols, i);
    for (Index t = 0; t < round_up(count, kTileTokens); ++t) store(zero(), sums.at[i][t]);
    for (Index g = segment.begin / kGroup; g < segment.end / kGroup; g += kChunkGroups) {
      const Index end = std::min(g + kChunkGroups, segment.end / kGroup);
      unpacked.unpack(strip, x.cols, g, end);
      for (Index t = 0; t < count; t += kTileTokens) {
        add_groups<Tiles, Format>(unpacked, x, g, end, token + t, sums.at[i] + t);
      }
    }
  }
}

// The tokens [begin, begin + count) of the whole strip range; count is a multiple of 16, or less than 16.
template <class Tiles, class Format>
HWY_NOINLINE void int8_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, Index begin, Index count, MatrixView<float> y) {
  const Index bytes = strip_bytes(w.dtype, w.cols).count;
  BlockSums sums;
  Tiles::configure(int8_config<Format>(std::min(count, kTileTokens)));
  for (Index t = 0; t < count; t += kBlockTokens) {  // outside, so that these tokens stay near while strips pass by
    const Index block = std::min(kBlockTokens, count - t);
    for (Index s = strip_begin; s < strip_end; ++s) {
      const auto* strip = reinterpret_cast<const std::uint8_t*>(w.data) + s * bytes;
      strip_times_block<Tiles, Format>(strip, w, x, begin + t, block, sums);
      store_tokens(sums, w, bias, s * kStripRows, begin + t, block, y);
    }
  }
  Tiles::release();
}

// --- BF16 ----------------------------------------------------------------------------------------------------------

constexpr Index kChunkUnits = 4;  // of 32 columns, transposed at a time

HWY_INLINE TileConfig
bf16_config(Index tokens) {  // tiles 0-3 sums [tokens][16], 4 activations [tokens][32], 5 weights as pairs
  TileConfig config;
  for (int i = 0; i < 4; ++i) config.set(i, tokens, 64);
  config.set(4, tokens, 64);
  config.set(5, 16, 64);
  return config;
}

struct TokenRows {  // where the four tiles of a block begin, and how many there are
  const BF16* row[4];
  Index tiles;
};

// One unit of 32 columns for up to four tiles of tokens.
template <class Tiles>
HWY_INLINE void bf16_unit(const TokenRows& x, Index k, Index stride, const std::int32_t* pairs) {
  Tiles::template load<5>(pairs, 64);
  Tiles::template load<4>(x.row[0] + k, stride);
  Tiles::template dot_bf16<0, 4, 5>();
  if (x.tiles < 2) return;
  Tiles::template load<4>(x.row[1] + k, stride);
  Tiles::template dot_bf16<1, 4, 5>();
  if (x.tiles < 3) return;
  Tiles::template load<4>(x.row[2] + k, stride);
  Tiles::template dot_bf16<2, 4, 5>();
  if (x.tiles < 4) return;
  Tiles::template load<4>(x.row[3] + k, stride);
  Tiles::template dot_bf16<3, 4, 5>();
}

template <class Tiles>
HWY_NOINLINE void bf16_times_block(const BF16* strip, const PackedMatrix& w, const Activations& x, Index begin,
                                   Index count, BlockSums& sums) {
  TokenRows rows{{}, ceil_div(count, kTileTokens)};
  for (Index i = 0; i < 4; ++i) rows.row[i] = x.bf16 + (begin + std::min(i, rows.tiles - 1) * kTileTokens) * x.cols;
  alignas(64) std::int32_t pairs[kChunkUnits][16][16];
  for (Index i = 0; i < kSegments; ++i) {
    const Span segment = segment_columns(w, x.cols, i);
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    Tiles::template zero<2>();
    Tiles::template zero<3>();
    for (Index k = segment.begin; k < segment.end; k += 32 * kChunkUnits) {
      const Index units = std::min(kChunkUnits, (segment.end - k) / 32);
      for (Index u = 0; u < units; ++u) {
        I32x16 unit[16];
        transpose_pairs(reinterpret_cast<const std::byte*>(strip + k + 32 * u), x.cols * 2, unit);
#pragma GCC unroll 16
        for (int p = 0; p < 16; ++p) store_int(unit[p], pairs[u][p]);
      }
      for (Index u = 0; u < units; ++u) bf16_unit<Tiles>(rows, k + 32 * u, x.cols * 2, pairs[u][0]);
    }
    Tiles::template store<0>(sums.at[i][0], 64);
    if (rows.tiles > 1) Tiles::template store<1>(sums.at[i][16], 64);
    if (rows.tiles > 2) Tiles::template store<2>(sums.at[i][32], 64);
    if (rows.tiles > 3) Tiles::template store<3>(sums.at[i][48], 64);
  }
}

// As int8_tokens().
template <class Tiles>
HWY_NOINLINE void bf16_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, Index begin, Index count, MatrixView<float> y) {
  BlockSums sums;
  Tiles::configure(bf16_config(std::min(count, kTileTokens)));
  for (Index t = 0; t < count; t += kBlockTokens) {
    const Index block = std::min(kBlockTokens, count - t);
    for (Index s = strip_begin; s < strip_end; ++s) {
      const BF16* strip = reinterpret_cast<const BF16*>(w.data) + s * kStripRows * x.cols;
      bf16_times_block<Tiles>(strip, w, x, begin + t, block, sums);
      store_tokens(sums, w, bias, s * kStripRows, begin + t, block, y);
    }
  }
  Tiles::release();
}

// Up to four tokens: the weights' rows are a tile as they lie, a token's pairs are a tile of one column.
template <class Tiles>
HWY_NOINLINE void bf16_few_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                  Index strip_end, Index begin, Index count, MatrixView<float> y) {
  TileConfig config;  // tiles 0-3 sums [16][1], 4 weights [16][32], 5-7 a token's pairs [16][1]
  for (int i = 0; i < 4; ++i) config.set(i, 16, 4);
  config.set(4, 16, 64);
  for (int i = 5; i < 8; ++i) config.set(i, 16, 4);
  BlockSums sums;
  Tiles::configure(config);
  const BF16* token[kFewTokens];
  for (Index t = 0; t < kFewTokens; ++t) token[t] = x.bf16 + (begin + std::min(t, count - 1)) * x.cols;
  for (Index s = strip_begin; s < strip_end; ++s) {
    const BF16* strip = reinterpret_cast<const BF16*>(w.data) + s * kStripRows * x.cols;
    for (Index i = 0; i < kSegments; ++i) {
      const Span segment = segment_columns(w, x.cols, i);
      Tiles::template zero<0>();
      Tiles::template zero<1>();
      Tiles::template zero<2>();
      Tiles::template zero<3>();
      for (Index k = segment.begin; k < segment.end; k += 32) {
        Tiles::template load<4>(strip + k, x.cols * 2);
        Tiles::template load<5>(token[0] + k, 4);
        Tiles::template dot_bf16<0, 4, 5>();
        if (count < 2) continue;
        Tiles::template load<6>(token[1] + k, 4);
        Tiles::template dot_bf16<1, 4, 6>();
        if (count < 3) continue;
        Tiles::template load<7>(token[2] + k, 4);
        Tiles::template dot_bf16<2, 4, 7>();
        if (count < 4) continue;
        Tiles::template load<5>(token[3] + k, 4);
        Tiles::template dot_bf16<3, 4, 5>();
      }
      Tiles::template store<0>(sums.at[i][0], 4);
      Tiles::template store<1>(sums.at[i][1], 4);
      Tiles::template store<2>(sums.at[i][2], 4);
      Tiles::template store<3>(sums.at[i][3], 4);
    }
    store_tokens(sums, w, bias, s * kStripRows, begin, count, y);
  }
  Tiles::release();
}

// --- The entry -----------------------------------------------------------------------------------------------------

HWY_INLINE Activations tokens_of(const Activations& x, Index begin, Index count) {
  Activations part = x;
  part.tokens = count;
  part.q8 += begin * x.cols;
  part.scale += begin * (x.cols / 32);
  part.scaled_sum += begin * (x.cols / 32);
  part.half_sum += begin * (x.cols / 16);
  return part;
}

template <class Tiles>
void matmul_on_tiles(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                     MatrixView<float> y) {
  if (activation_form(w.dtype) == ActivationForm::kF32) return matmul(w, x, bias, strip_begin, strip_end, y);
  JERICHO_CHECK(x.cols == w.padded_cols() && x.form == activation_form(w.dtype), "x has {} columns, w {}", x.cols,
                w.cols);
  const Index whole = x.tokens / kTileTokens * kTileTokens;  // then a tile with fewer rows, or few tokens
  const Index rest = x.tokens - whole;
  if (w.dtype == DType::kBF16) {
    if (whole > 0) bf16_tokens<Tiles>(w, x, bias, strip_begin, strip_end, 0, whole, y);
    if (rest > kFewTokens) bf16_tokens<Tiles>(w, x, bias, strip_begin, strip_end, whole, rest, y);
    if (rest > 0 && rest <= kFewTokens) bf16_few_tokens<Tiles>(w, x, bias, strip_begin, strip_end, whole, rest, y);
    return;
  }
  visit_block_format(
      w.dtype,
      [&]<class Format>() {
        if (whole > 0) int8_tokens<Tiles, Format>(w, x, bias, strip_begin, strip_end, 0, whole, y);
        if (rest > kFewTokens) int8_tokens<Tiles, Format>(w, x, bias, strip_begin, strip_end, whole, rest, y);
      },
      [] {});
  if (rest > 0 && rest <= kFewTokens) {
    matmul(w, tokens_of(x, whole, rest), bias, strip_begin, strip_end, y.rows(whole, rest));
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
