// What the int8 and the bf16 products on tiles share: how tokens are cut into tiles and blocks, and the tree of the
// eight segments (numerics.md 3), built as the segments end so that four sums per output are kept and not eight.
#include <algorithm>
#include <bit>

#include "kernels/matmul.h"

#if defined(JERICHO_TILE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_TILE_SUMS_INL_H_
#undef JERICHO_TILE_SUMS_INL_H_
#else
#define JERICHO_TILE_SUMS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/tile_products-inl.h"
#include "kernels/cpu/tiles-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kTileTokens = kTileRows;
constexpr Index kBlockTiles = 8;  // of tokens, that share unpacked weights
constexpr Index kBlockTokens = kBlockTiles * kTileTokens;

// Some tiles of tokens. Fewer than 16 tokens are one tile with fewer rows. Of more, a last tile that is not full starts
// earlier instead: the tokens it shares with the tile before it come out twice, with the same bits.
struct TokenTiles {
  Index count = 0;
  Index rows = 0;
  Index begin[kBlockTiles] = {};
};

// All tokens as blocks of nearly equal size.
class TokenBlocks {
 public:
  explicit TokenBlocks(Index tokens)
      : tokens_(tokens), tiles_(ceil_div(tokens, kTileTokens)), count_(ceil_div(tiles_, kBlockTiles)) {}
  [[nodiscard]] Index count() const { return count_; }
  [[nodiscard]] Index rows() const { return std::min(tokens_, kTileTokens); }
  [[nodiscard]] TokenTiles block(Index i) const {
    const Index first = i * tiles_ / count_;
    TokenTiles tiles{(i + 1) * tiles_ / count_ - first, rows(), {}};
    for (Index t = 0; t < tiles.count; ++t) tiles.begin[t] = std::min((first + t) * kTileTokens, tokens_ - rows());
    return tiles;
  }

 private:
  Index tokens_, tiles_, count_;
};

struct Segments {
  SegmentColumns at[kSegments];
  HWY_INLINE Segments(const PackedMatrix& w, Index cols) {
    for (Index i = 0; i < kSegments; ++i) at[i] = segment_columns(w, cols, i);
  }
};

// The sums of a strip's rows (the lanes) with a block's tokens. While segment i runs, as many sums of the segments
// before it wait as i has bits set, and its own lies after them: at[depth(i)]. When it ends, it is added to as many of
// them as i has ones at its end. After segment 7 at[0] is the product.
struct SegmentTree {
  static constexpr Index kDepth = 4;
  alignas(64) float at[kDepth][kBlockTokens][16];

  static HWY_INLINE Index depth(Index segment) { return std::popcount(static_cast<unsigned>(segment)); }

  // An empty segment's sums.
  HWY_INLINE void clear(Index segment, Index tokens) {
    for (Index t = 0; t < tokens; ++t) store(zero(), at[depth(segment)][t]);
  }
  // The sums of a tile's tokens, from `token` on, at the end of a segment.
  HWY_INLINE void finish(Index segment, Index token, F32x16* sums) {
    Index to = depth(segment);
    for (Index i = segment; i % 2 != 0; i /= 2) {
      --to;
#pragma GCC unroll 16
      for (int t = 0; t < kTileTokens; ++t) sums[t] = add(load(at[to][token + t]), sums[t]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTileTokens; ++t) store(sums[t], at[to][token + t]);
  }
  // The same for sums that already lie at depth(segment).
  HWY_INLINE void finish(Index segment, Index token) {
    if (segment % 2 == 0) return;
    F32x16 sums[kTileTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kTileTokens; ++t) sums[t] = load(at[depth(segment)][token + t]);
    finish(segment, token, sums);
  }

  HWY_INLINE void write(const PackedMatrix& w, const float* bias, Index row, const TokenTiles& tiles,
                        MatrixView<float> y) const {
    const Index rows = w.rows - row;
    for (Index i = 0; i < tiles.count; ++i) {
      for (Index t = 0; t < tiles.rows; ++t) {
        F32x16 total = load(at[0][i * kTileTokens + t]);
        if (bias != nullptr) total = add(total, load_up_to_16(bias + row, rows));
        store_up_to_16(total, y.data() + (tiles.begin[i] + t) * y.row_stride() + row, rows);
      }
    }
  }
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
