// The frame of a product with many tokens, for kernels whose lanes are the sixteen rows of a strip: blocks of tokens,
// four strips at a time, chunks of columns, tiles of two or four strips by four tokens, and the tree over the eight
// segments (packed panels held in a cache: Goto & van de Geijn 2008, "Anatomy of high-performance matrix
// multiplication", section 4). What a weight's type does inside a tile is a Product's:
//   Chunk        some groups of 32 columns of a strip in the form that is multiplied; unpack() makes it, once a block
//   Tile         what four tokens have for these groups; gather() makes it, once for four strips
//   kTileStrips  strips that an activation is loaded for: as many as registers hold the sums of
//   add_chunk()  adds a chunk to the sums of a tile: load_sums(), the product, store_sums()
// Tokens and rows each keep their own accumulator, which takes the columns in order: the bits do not depend on how
// tokens are cut (numerics.md 3). Start at products_of_tokens().
#include <algorithm>

#include "base/index.h"
#include "kernels/activations.h"
#include "kernels/matmul.h"
#include "kernels/packed_matrix.h"

#if defined(JERICHO_TOKEN_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_TOKEN_BLOCKS_INL_H_
#undef JERICHO_TOKEN_BLOCKS_INL_H_
#else
#define JERICHO_TOKEN_BLOCKS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kBlockTokens = 64;  // share a chunk; their activations stay in the second cache while strips pass by
constexpr Index kBlockStrips = 4;   // share a tile's gathered activations
constexpr int kTileTokens = 4;

// The sums of a block of tokens. The tree over the segments is built as they come: a segment that ends takes the
// finished sums on its left with it, as many as its number has ones at its end, and is kept in the slot of that level.
constexpr int kLevels = 3;
constexpr int kRunning = kLevels;  // slot of a segment that is not finished, and of the whole tree at the end
struct BlockSums {
  alignas(64) float at[kLevels + 1][kBlockStrips * kBlockTokens * 16];
  // Those of level 0 of a tile of kStrips strips, from strip s on, and of the t-th tokens.
  template <int kStrips>
  HWY_INLINE float* tile(Index s, Index t) {
    return at[0] + (s / kStrips * (kBlockTokens / kTileTokens) + t) * kStrips * kTileTokens * 16;
  }
};
constexpr Index kSlot = kBlockStrips * kBlockTokens * 16;  // floats from one level to the next

// Which part of a segment a chunk is.
struct Part {
  bool first = false;
  bool last = false;
  int segment = 0;
};

// Accumulators of a tile, whose sums are at `sums` in the slot of level 0.
template <int kStrips>
HWY_INLINE void load_sums(const float* sums, Part part, F32x16 (*acc)[kTileTokens]) {
  const float* before = sums + kRunning * kSlot;
#pragma GCC unroll 4
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) acc[s][t] = part.first ? zero() : load(before + (s * kTileTokens + t) * 16);
  }
}
template <int kStrips>
HWY_INLINE void store_sums(F32x16 (*acc)[kTileTokens], Part part, float* sums) {
  int level = kRunning;
  if (part.last) {
    for (level = 0; level < kLevels && (part.segment >> level & 1) != 0; ++level) {
      const float* left = sums + level * kSlot;
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) acc[s][t] = add(load(left + (s * kTileTokens + t) * 16), acc[s][t]);
      }
    }
  }
  float* after = sums + level * kSlot;
#pragma GCC unroll 4
  for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) store(acc[s][t], after + (s * kTileTokens + t) * 16);
  }
}

// Strips [first, first + strips), a multiple of kStrips, times tokens [begin, begin + count), at most kBlockTokens. A
// tile's slots beyond its tokens repeat the last one and are dropped.
template <class Product, int kStrips>
HWY_NOINLINE void products_of_block(const PackedMatrix& w, const Activations& x, const float* bias, Index first,
                                    Index strips, Index begin, Index count, MatrixView<float> y) {
  constexpr Index kColumns = 32;
  const Index tiles = ceil_div(count, kTileTokens);
  Index token[kBlockTokens];
  for (Index t = 0; t < tiles * kTileTokens; ++t) token[t] = begin + std::min(t, count - 1);
  typename Product::Chunk chunks[kBlockStrips];
  typename Product::Tile tile;
  BlockSums sums;
  for (int i = 0; i < kSegments; ++i) {
    const SegmentColumns segment = segment_columns(w, x.cols, i);
    Index g = segment.begin / kColumns;
    const Index end = segment.end / kColumns;
    Part part{true, false, i};
    do {  // once also for a segment of nothing, which is +0
      const Index last = std::min(g + Product::kChunkGroups, end);
      part.last = last == end;
      for (Index s = 0; s < strips; ++s) chunks[s].unpack(w, first + s, g, last);
      for (Index t = 0; t < tiles; ++t) {
        tile.gather(x, token + t * kTileTokens, g, last);
        for (Index s = 0; s < strips; s += kStrips) {
          Product::template add_chunk<kStrips>(chunks + s, tile, last - g, part, sums.tile<kStrips>(s, t));
        }
      }
      part.first = false;
      g = last;
    } while (g < end);
  }
  for (Index t = 0; t < count; ++t) {
    for (Index s = 0; s < strips; ++s) {
      const float* of_tile = sums.tile<kStrips>(s, t / kTileTokens) + kRunning * kSlot;
      F32x16 total = load(of_tile + (s % kStrips * kTileTokens + t % kTileTokens) * 16);
      const Index row = (first + s) * kStripRows;
      if (bias != nullptr) total = add(total, load_up_to_16(bias + row, w.rows - row));
      store_up_to_16(total, y.data() + (begin + t) * y.row_stride() + row, w.rows - row);
    }
  }
}

// The strips [strip_begin, strip_end) times all tokens of x.
template <class Product>
HWY_NOINLINE void products_of_tokens(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                                     Index strip_end, MatrixView<float> y) {
  for (Index t = 0; t < x.tokens; t += kBlockTokens) {
    const Index count = std::min(kBlockTokens, x.tokens - t);
    constexpr int kStrips = Product::kTileStrips;
    Index s = strip_begin;
    while (s + kStrips <= strip_end) {
      const Index strips = std::min(kBlockStrips, (strip_end - s) / kStrips * kStrips);
      products_of_block<Product, kStrips>(w, x, bias, s, strips, t, count, y);
      s += strips;
    }
    for (; s < strip_end; ++s) products_of_block<Product, 1>(w, x, bias, s, 1, t, count, y);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
