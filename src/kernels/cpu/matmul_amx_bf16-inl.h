// Products of bf16 weights on bf16 tiles, whose instruction is the definition of numerics.md 3: its sums stay in the
// tile while a segment lasts. Two tiles of tokens times two strips of weights share their loads. The weights' rows
// become pairs, as the instruction wants its second operand, once per block of tokens. For up to four tokens the
// weights' rows are the first operand as they lie, and each token is a column. Start at bf16_tokens().
//                                                                                   Costs: docs/kernels.md#amx-costs
#include <algorithm>

#include "kernels/matmul.h"

#if defined(JERICHO_MATMUL_AMX_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_MATMUL_AMX_BF16_INL_H_
#undef JERICHO_MATMUL_AMX_BF16_INL_H_
#else
#define JERICHO_MATMUL_AMX_BF16_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/tile_products-inl.h"
#include "kernels/cpu/tile_sums-inl.h"
#include "kernels/cpu/tiles-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kChunkUnits = 8;  // turned into pairs at a time: 8 KiB per strip
constexpr Index kFewTokens = 4;   // up to here a tile of tokens would be mostly empty

// Some units of a strip as pairs.
struct ChunkPairs {
  alignas(64) UnitPairs at[kChunkUnits];

  // Of `units` units from `rows`, `stride` bytes apart, on.
  HWY_INLINE void turn(const BF16* rows, Index stride, Index units) {
    const auto* bytes = reinterpret_cast<const std::byte*>(rows);
    for (Index u = 0; u < units; ++u, bytes += 64) {
      for (Index r = 0; r < kStripRows; ++r) {  // the chunk to come
        _mm_prefetch(reinterpret_cast<const char*>(bytes + r * stride + kChunkUnits * 64), _MM_HINT_T1);
      }
      I32x16 pairs[16];
      transpose_pairs(bytes, stride, pairs);
#pragma GCC unroll 16
      for (int p = 0; p < 16; ++p) store_int(pairs[p], at[u][p]);
    }
  }
};

// Adds some units to the sums of the tiles of tokens `tile` and, where kTokenTiles is 2, the next.
template <class Tiles, int kTokenTiles, int kStrips>
HWY_INLINE void add_to_tiles(Sums from, const Activations& x, Index column, const TokenTiles& tiles, Index tile,
                             const ChunkPairs* w, Index units, Index depth, SegmentTree* sums) {
  const BF16* rows[kTokenTiles];
  const UnitPairs* pairs[kStrips];
  float* to[2 * kTokenTiles];
  for (Index s = 0; s < kStrips; ++s) pairs[s] = w[s].at;
  for (Index i = 0; i < kTokenTiles; ++i) {
    rows[i] = x.bf16 + tiles.begin[tile + i] * x.cols + column;
    for (Index s = 0; s < kStrips; ++s) to[2 * i + s] = sums[s].at[depth][(tile + i) * kTileTokens];
  }
  add_products<Tiles, kTokenTiles, kStrips>(from, rows, x.cols * 2, pairs, units, to, 64);
}

template <class Tiles, int kStrips>
HWY_NOINLINE void bf16_strips(const BF16* strips, const Segments& segments, const Activations& x,
                              const TokenTiles& tiles, SegmentTree* sums) {
  ChunkPairs pairs[kStrips];
  for (Index i = 0; i < kSegments; ++i) {
    const Index depth = SegmentTree::depth(i);
    for (Index k = segments.at[i].begin; k < segments.at[i].end; k += kUnit * kChunkUnits) {
      const Index units = std::min(kChunkUnits, (segments.at[i].end - k) / kUnit);
      for (Index s = 0; s < kStrips; ++s) pairs[s].turn(strips + s * kStripRows * x.cols + k, x.cols * 2, units);
      const Sums from = k == segments.at[i].begin ? Sums::kFromZero : Sums::kGoOn;
      Index t = 0;
      for (; t + 2 <= tiles.count; t += 2) {
        add_to_tiles<Tiles, 2, kStrips>(from, x, k, tiles, t, pairs, units, depth, sums);
      }
      if (t < tiles.count) add_to_tiles<Tiles, 1, kStrips>(from, x, k, tiles, t, pairs, units, depth, sums);
    }
    for (Index s = 0; s < kStrips; ++s) {
      if (segments.at[i].begin == segments.at[i].end) sums[s].clear(i, tiles.count * kTileTokens);
      for (Index t = 0; t < tiles.count; ++t) sums[s].finish(i, t * kTileTokens);
    }
  }
}

// All tokens times the strips of the range.
template <class Tiles>
HWY_NOINLINE void bf16_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, MatrixView<float> y) {
  const Segments segments(w, x.cols);
  const TokenBlocks blocks(x.tokens);
  SegmentTree sums[2] = {};
  Tiles::configure(bf16_config(blocks.rows()));
  for (Index b = 0; b < blocks.count(); ++b) {
    const TokenTiles tiles = blocks.block(b);
    for (Index s = strip_begin; s < strip_end; s += 2) {
      const BF16* strips = reinterpret_cast<const BF16*>(w.data) + s * kStripRows * x.cols;
      if (s + 2 <= strip_end) {
        bf16_strips<Tiles, 2>(strips, segments, x, tiles, sums);
        sums[1].write(w, bias, (s + 1) * kStripRows, tiles, y);
      } else {
        bf16_strips<Tiles, 1>(strips, segments, x, tiles, sums);
      }
      sums[0].write(w, bias, s * kStripRows, tiles, y);
    }
  }
  Tiles::release();
}

// One unit of a strip with up to four tokens: tile t sums token t, 4 or 5 holds the weights, 6 and 7 tokens.
template <class Tiles, int kParity>
HWY_INLINE void add_few(const BF16* rows, Index stride, const BF16* const* token, Index count) {
  Tiles::template load<4 + kParity>(rows, stride);
  Tiles::template load<6>(token[0], 4);
  Tiles::template dot_bf16<0, 4 + kParity, 6>();
  if (count < 2) return;
  Tiles::template load<7>(token[1], 4);
  Tiles::template dot_bf16<1, 4 + kParity, 7>();
  if (count < 3) return;
  Tiles::template load<6>(token[2], 4);
  Tiles::template dot_bf16<2, 4 + kParity, 6>();
  if (count < 4) return;
  Tiles::template load<7>(token[3], 4);
  Tiles::template dot_bf16<3, 4 + kParity, 7>();
}

// Up to four tokens: the weights' rows are a tile as they lie, a token's pairs are a tile of one column.
template <class Tiles>
HWY_NOINLINE void bf16_few_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                  Index strip_end, MatrixView<float> y) {
  const Segments segments(w, x.cols);
  alignas(64) float sums[kSegments][kFewTokens][16];
  TileConfig config;
  for (int i = 0; i < 4; ++i) config.set(i, kStripRows, 4);
  for (int i = 4; i < 6; ++i) config.set(i, kStripRows, 64);
  for (int i = 6; i < 8; ++i) config.set(i, kUnit / 2, 4);
  Tiles::configure(config);
  for (Index strip = strip_begin; strip < strip_end; ++strip) {
    const BF16* rows = reinterpret_cast<const BF16*>(w.data) + strip * kStripRows * x.cols;
    for (Index i = 0; i < kSegments; ++i) {
      Tiles::template zero<0>();
      Tiles::template zero<1>();
      Tiles::template zero<2>();
      Tiles::template zero<3>();
      for (Index k = segments.at[i].begin; k < segments.at[i].end; k += kUnit) {
        const BF16* token[kFewTokens];
        for (Index t = 0; t < kFewTokens; ++t) token[t] = x.bf16 + std::min(t, x.tokens - 1) * x.cols + k;
        if (k / kUnit % 2 == 0) {
          add_few<Tiles, 0>(rows + k, x.cols * 2, token, x.tokens);
        } else {
          add_few<Tiles, 1>(rows + k, x.cols * 2, token, x.tokens);
        }
      }
      Tiles::template store<0>(sums[i][0], 4);
      Tiles::template store<1>(sums[i][1], 4);
      Tiles::template store<2>(sums[i][2], 4);
      Tiles::template store<3>(sums[i][3], 4);
    }
    const Index row = strip * kStripRows;
    for (Index t = 0; t < x.tokens; ++t) {
      F32x16 s[kSegments];
      for (int i = 0; i < kSegments; ++i) s[i] = load(sums[i][t]);
      F32x16 total = add(add(add(s[0], s[1]), add(s[2], s[3])), add(add(s[4], s[5]), add(s[6], s[7])));
      if (bias != nullptr) total = add(total, load_up_to_16(bias + row, w.rows - row));
      store_up_to_16(total, y.data() + t * y.row_stride() + row, w.rows - row);
    }
  }
  Tiles::release();
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
