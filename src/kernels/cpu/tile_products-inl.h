// The inner loops on tiles, of weights (matmul_amx_*-inl.h) as of keys and values (attention_amx-inl.h): bf16 products
// whose sums stay in tiles, and a stream of integer dots. Rows are tokens, or queries; what they meet comes in strips
// of sixteen columns.
//                                                                                   Costs: docs/kernels.md#amx-costs
#include <algorithm>
#include <cstdint>
#include <span>

#include "base/half.h"
#include "base/index.h"

#if defined(JERICHO_TILE_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_TILE_PRODUCTS_INL_H_
#undef JERICHO_TILE_PRODUCTS_INL_H_
#else
#define JERICHO_TILE_PRODUCTS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/tiles-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kTileRows = 16;  // at most

// --- bf16 ---------------------------------------------------------------------------------------------------------

constexpr Index kUnit = 32;              // elements of a row that a product takes
using UnitPairs = std::int32_t[16][16];  // a unit of a strip: [pair of elements][column]

// Of up to sixteen rows each; sums are 0-3, rows 4-5, pairs 6-7.
HWY_INLINE TileConfig bf16_config(Index rows) {
  TileConfig config;
  for (int i = 0; i < 6; ++i) config.set(i, rows, 64);
  for (int i = 6; i < 8; ++i) config.set(i, kUnit / 2, 64);
  return config;
}

// kRowTiles tiles of rows times kStrips strips, `units` units on from x: tile 2 t + s sums tile t and strip s, 4 + t
// holds rows, 6 + s pairs. An operand is loaded for the next unit as soon as its last product has started.
template <class Tiles, int kRowTiles, int kStrips>
HWY_INLINE void add_units(const BF16* const* x, Index stride, const UnitPairs* const* w, Index units) {
  Tiles::template load<4>(x[0], stride);
  Tiles::template load<6>(w[0], 64);
  if constexpr (kStrips > 1) Tiles::template load<7>(w[1], 64);
  if constexpr (kRowTiles > 1) Tiles::template load<5>(x[1], stride);
  for (Index u = 0; u < units; ++u) {
    const Index next = std::min(u + 1, units - 1);  // the last unit's operands are loaded once too often
    Tiles::template dot_bf16<0, 4, 6>();
    if constexpr (kStrips > 1) Tiles::template dot_bf16<1, 4, 7>();
    Tiles::template load<4>(x[0] + kUnit * next, stride);
    if constexpr (kRowTiles > 1) Tiles::template dot_bf16<2, 5, 6>();
    Tiles::template load<6>(w[0] + next, 64);
    if constexpr (kRowTiles > 1 && kStrips > 1) Tiles::template dot_bf16<3, 5, 7>();
    if constexpr (kStrips > 1) Tiles::template load<7>(w[1] + next, 64);
    if constexpr (kRowTiles > 1) Tiles::template load<5>(x[1] + kUnit * next, stride);
  }
}

enum class Sums { kFromZero, kGoOn };

// The same on to sums in memory: those of tile t and strip s at to[2 t + s], rows `to_stride` bytes apart. The tiles of
// rows may share some: all sums are read before any is written.
template <class Tiles, int kRowTiles, int kStrips>
HWY_INLINE void add_products(Sums from, const BF16* const* x, Index stride, const UnitPairs* const* w, Index units,
                             float* const* to, Index to_stride) {
  constexpr bool kFour = kRowTiles > 1 && kStrips > 1;
  if (from == Sums::kFromZero) {
    Tiles::template zero<0>();
    if constexpr (kStrips > 1) Tiles::template zero<1>();
    if constexpr (kRowTiles > 1) Tiles::template zero<2>();
    if constexpr (kFour) Tiles::template zero<3>();
  } else {
    Tiles::template load<0>(to[0], to_stride);
    if constexpr (kStrips > 1) Tiles::template load<1>(to[1], to_stride);
    if constexpr (kRowTiles > 1) Tiles::template load<2>(to[2], to_stride);
    if constexpr (kFour) Tiles::template load<3>(to[3], to_stride);
  }
  add_units<Tiles, kRowTiles, kStrips>(x, stride, w, units);
  Tiles::template store<0>(to[0], to_stride);
  if constexpr (kStrips > 1) Tiles::template store<1>(to[1], to_stride);
  if constexpr (kRowTiles > 1) Tiles::template store<2>(to[2], to_stride);
  if constexpr (kFour) Tiles::template store<3>(to[3], to_stride);
}

// --- int8 ---------------------------------------------------------------------------------------------------------

using Dots = std::int32_t[kTileRows][16];
constexpr int kRing = 4;

// Integer dots of kDotColumns columns in a stream: for each tile of rows, for each strip, dot after dot. Step n starts
// product n on the operands that step n - 1 loaded, loads those of n + 1 and stores product n - 2; product n - 4 is
// read meanwhile. So no instruction waits for the one before it, whether or not the processor renames tiles: tiles 0-3
// hold products, 4-5 rows, 6-7 codes, in turn. At the end some products too many are started, of the last tile of rows.
// A tile takes 64 columns at most: what is longer takes two.
template <class Tiles, Index kDotColumns>
class DotStream {
 public:
  static constexpr Index kColumns = std::min<Index>(64, kDotColumns);
  static_assert(kDotColumns <= 2 * kColumns);

  static TileConfig config(Index rows) {
    TileConfig config;
    for (int i = 0; i < 4; ++i) config.set(i, rows, 64);
    for (int i = 4; i < 6; ++i) config.set(i, rows, kColumns);
    for (int i = 6; i < 8; ++i) config.set(i, kColumns / 4, 64);
    return config;
  }

  // `x` are the codes of row 0 from the first column on, `tiles` the first row of each tile, `strips` the codes of
  // `columns` columns, in quads: [columns / 4][16][4]. All views are read until the last dot was taken.
  HWY_INLINE DotStream(const std::int8_t* x, Index stride, std::span<const Index> tiles,
                       std::span<const std::uint8_t* const> strips, Index columns, Dots* ring)
      : x_(x),
        stride_(stride),
        tile_(tiles.data()),
        last_tile_(tiles.data() + tiles.size() - 1),
        strips_(strips),
        codes_bytes_(columns * 16),
        x_at_(x + *tile_ * stride),
        codes_at_(strips[0]),
        codes_end_(codes_at_ + codes_bytes_),
        ring_(ring) {
    load_operands<0>();
    if constexpr (kLong) load_operands<1>();
    for (int i = 0; i < kRing; ++i) step();
  }

  HWY_INLINE void step() {
    switch (started_++ % kRing) {
      case 0: return step_at<0>();
      case 1: return step_at<1>();
      case 2: return step_at<2>();
      default: return step_at<3>();
    }
  }
  // The next product that is complete.
  HWY_INLINE const Dots& take() { return ring_[taken_++ % kRing]; }

 private:
  static constexpr bool kLong = kDotColumns > kColumns;  // both pairs of operands belong to one product

  template <int kSlot>
  HWY_INLINE void step_at() {
    Tiles::template zero<kSlot>();
    if constexpr (kLong) {
      Tiles::template dot_i8<kSlot, 4, 6>();
      load_operands<0>();
      Tiles::template dot_i8<kSlot, 5, 7>();
      load_operands<1>();
    } else {
      Tiles::template dot_i8<kSlot, 4 + kSlot % 2, 6 + kSlot % 2>();
      load_operands<(kSlot + 1) % 2>();
    }
    constexpr int kReady = (kSlot + kRing - 2) % kRing;
    Tiles::template store<kReady>(ring_[kReady], 64);
  }
  template <int kParity>
  HWY_INLINE void load_operands() {
    Tiles::template load<4 + kParity>(x_at_, stride_);
    Tiles::template load<6 + kParity>(codes_at_, 64);
    x_at_ += kColumns;
    codes_at_ += kColumns * 16;
    if (codes_at_ == codes_end_) {
      if (++strip_ == strips_.size()) {
        strip_ = 0;
        if (tile_ != last_tile_) ++tile_;
      }
      x_at_ = x_ + *tile_ * stride_;
      codes_at_ = strips_[strip_];
      codes_end_ = codes_at_ + codes_bytes_;
    }
  }

  const std::int8_t* x_;
  Index stride_;
  const Index* tile_;  // first row of the tile whose operands are loaded next
  const Index* last_tile_;
  std::span<const std::uint8_t* const> strips_;
  std::size_t strip_ = 0;
  Index codes_bytes_;
  const std::int8_t* x_at_;  // the operands to be loaded next
  const std::uint8_t* codes_at_;
  const std::uint8_t* codes_end_;
  Dots* ring_;
  unsigned started_ = 0;
  unsigned taken_ = 0;
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
