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

// Where the operands of unit after unit lie, in bytes.
struct UnitLayout {
  Index stride = 64;  // between rows of a tile
  Index step = 1024;  // from a unit to the next
};

// How strips are read: to be met again soon, or once, past the first cache, where the rows stay.
enum class StripUse { kKept, kStreamed };

template <class Tiles, int kTile, StripUse kUse>
HWY_INLINE void load_strip(const char* at, Index stride) {
  if constexpr (kUse == StripUse::kKept) {
    Tiles::template load<kTile>(at, stride);
  } else {
    Tiles::template load_streamed<kTile>(at, stride);
  }
}

// kRowTiles tiles of rows times kStrips strips, `units` units on from x: tile 2 t + s sums tile t and strip s, 4 + t
// holds rows, 6 + s pairs. An operand is loaded for the next unit as soon as its last product has started.
template <class Tiles, int kRowTiles, int kStrips, StripUse kUse = StripUse::kKept, class X, class W>
HWY_INLINE void add_units(const X* const* x, UnitLayout x_layout, const W* const* w, UnitLayout w_layout, Index units) {
  const char* rows[2] = {reinterpret_cast<const char*>(x[0]), reinterpret_cast<const char*>(x[kRowTiles - 1])};
  const char* pairs[2] = {reinterpret_cast<const char*>(w[0]), reinterpret_cast<const char*>(w[kStrips - 1])};
  Tiles::template load<4>(rows[0], x_layout.stride);
  load_strip<Tiles, 6, kUse>(pairs[0], w_layout.stride);
  if constexpr (kStrips > 1) load_strip<Tiles, 7, kUse>(pairs[1], w_layout.stride);
  if constexpr (kRowTiles > 1) Tiles::template load<5>(rows[1], x_layout.stride);
  for (Index u = 0; u < units; ++u) {
    const Index next = std::min(u + 1, units - 1);  // the last unit's operands are loaded once too often
    Tiles::template dot_bf16<0, 4, 6>();
    if constexpr (kStrips > 1) Tiles::template dot_bf16<1, 4, 7>();
    Tiles::template load<4>(rows[0] + next * x_layout.step, x_layout.stride);
    if constexpr (kRowTiles > 1) Tiles::template dot_bf16<2, 5, 6>();
    load_strip<Tiles, 6, kUse>(pairs[0] + next * w_layout.step, w_layout.stride);
    if constexpr (kRowTiles > 1 && kStrips > 1) Tiles::template dot_bf16<3, 5, 7>();
    if constexpr (kStrips > 1) load_strip<Tiles, 7, kUse>(pairs[1] + next * w_layout.step, w_layout.stride);
    if constexpr (kRowTiles > 1) Tiles::template load<5>(rows[1] + next * x_layout.step, x_layout.stride);
  }
}

enum class Sums { kFromZero, kGoOn };

// Sums begin at zero, or as those in memory: of tile t and strip s at from[2 t + s], rows `stride` bytes apart.
template <class Tiles, int kRowTiles, int kStrips>
HWY_INLINE void begin_sums(Sums how, float* const* from, Index stride) {
  constexpr bool kFour = kRowTiles > 1 && kStrips > 1;
  if (how == Sums::kFromZero) {
    Tiles::template zero<0>();
    if constexpr (kStrips > 1) Tiles::template zero<1>();
    if constexpr (kRowTiles > 1) Tiles::template zero<2>();
    if constexpr (kFour) Tiles::template zero<3>();
  } else {
    Tiles::template load<0>(from[0], stride);
    if constexpr (kStrips > 1) Tiles::template load<1>(from[1], stride);
    if constexpr (kRowTiles > 1) Tiles::template load<2>(from[2], stride);
    if constexpr (kFour) Tiles::template load<3>(from[3], stride);
  }
}

template <class Tiles, int kRowTiles, int kStrips>
HWY_INLINE void store_sums(float* const* to, Index stride) {
  Tiles::template store<0>(to[0], stride);
  if constexpr (kStrips > 1) Tiles::template store<1>(to[1], stride);
  if constexpr (kRowTiles > 1) Tiles::template store<2>(to[2], stride);
  if constexpr (kRowTiles > 1 && kStrips > 1) Tiles::template store<3>(to[3], stride);
}

// The products of rows, `stride` bytes apart, with strips of UnitPairs, on to sums in memory. The tiles of rows may
// share some: all sums are read before any is written.
template <class Tiles, int kRowTiles, int kStrips>
HWY_INLINE void add_products(Sums from, const BF16* const* x, Index stride, const UnitPairs* const* w, Index units,
                             float* const* to, Index to_stride) {
  begin_sums<Tiles, kRowTiles, kStrips>(from, to, to_stride);
  add_units<Tiles, kRowTiles, kStrips>(x, {stride, kUnit * 2}, w, {}, units);
  store_sums<Tiles, kRowTiles, kStrips>(to, to_stride);
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
