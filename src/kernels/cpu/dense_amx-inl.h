// Dense products of training on bf16 tiles (kernels/dense.h): two tiles of rows of the left operand times two strips of
// the right one share their loads. The rows are packed, a chunk of columns at a time, into tiles that follow one
// another and stay in the first cache, while the right operand passes by from the second one.
// Start at dense_on_tiles().                                                       Costs: docs/kernels.md#amx-training
#include <algorithm>
#include <span>

#include "base/check.h"
#include "kernels/cpu/training_targets.h"
#include "kernels/dense.h"

#if defined(JERICHO_DENSE_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_DENSE_AMX_INL_H_
#undef JERICHO_DENSE_AMX_INL_H_
#else
#define JERICHO_DENSE_AMX_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/float_rows16-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/tile_products-inl.h"
#include "kernels/cpu/tiles-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kUnitCells = 16;             // of a row of a tile
constexpr Index kChunkCells = 256;           // of a row that are packed at once
constexpr Index kBlockRows = 2 * kTileRows;  // that share the right operand
constexpr Index kSumCols = 512;              // whose sums wait on the stack

using TileCells = std::uint32_t[kTileRows][kUnitCells];

HWY_INLINE __m512i load_cells_up_to_16(const std::uint32_t* cells, Index count) {
  return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(count >= 16 ? 0xffffu : (1u << count) - 1u), cells);
}

// `count` rows of cells by up to 16, the rest zeros.
HWY_INLINE void copy_cells(const std::uint32_t* from, Index stride, Index count, Index cells, TileCells& to) {
  for (Index r = 0; r < kTileRows; ++r) {
    const __m512i row = r < count ? load_cells_up_to_16(from + r * stride, cells) : _mm512_setzero_si512();
    _mm512_store_si512(to[r], row);
  }
}

// Up to 32 rows of the left operand by up to kChunkCells cells, unit by unit; zeros after the last row and cell.
struct LeftBlock {
  alignas(64) TileCells units[kChunkCells / kUnitCells][2];

  HWY_INLINE void pack(const DenseLeft& a, Index row, Index rows, Index begin, Index end) {
    if (a.columns.data != nullptr) return pack_pairs(a.columns, row, rows, begin, end);
    for (Index t = 0; t * kTileRows < rows; ++t) {
      const Index first = row + t * kTileRows, count = std::min(kTileRows, rows - t * kTileRows);
      if (a.k_stride == 1) {
        pack_rows(a.cells + first * a.row_stride + begin, a.row_stride, count, end - begin, t);
      } else {
        pack_columns(a.cells + begin * a.k_stride + first, a.k_stride, count, end - begin, t);
      }
    }
  }

 private:
  HWY_INLINE void pack_rows(const std::uint32_t* cells, Index stride, Index rows, Index count, Index t) {
    for (Index r = 0; r < kTileRows; ++r) {
      for (Index u = 0; u * kUnitCells < count; ++u) {
        const Index left = count - u * kUnitCells;
        const __m512i unit =
            r < rows ? load_cells_up_to_16(cells + r * stride + u * kUnitCells, left) : _mm512_setzero_si512();
        _mm512_store_si512(units[u][t][r], unit);
      }
    }
  }
  // Rows are columns of bf16 rows. A pair of these rows gives the cells of their even columns and those of the odd ones
  // without a shuffle; turned, they go to every other row of the tiles.
  HWY_INLINE void pack_pairs(const ConstFloatRows& x, Index row, Index rows, Index begin, Index end) {
    const auto columns = static_cast<__mmask32>(rows >= 32 ? 0xffffffffu : (1u << rows) - 1u);
    alignas(64) TileCells cells[2];  // of even columns, of odd ones
    for (Index u = 0; begin + u * kUnitCells < end; ++u) {
      const Index first = begin + u * kUnitCells;
      for (Index i = 0; i < kUnitCells; ++i) {
        const Index t = 2 * (first + i);
        const bool inside = first + i < end;
        const __m512i low = _mm512_maskz_loadu_epi16(inside ? columns : 0, values(x, t) + row);
        const __m512i high = _mm512_maskz_loadu_epi16(inside && t + 1 < x.rows ? columns : 0, values(x, t + 1) + row);
        constexpr __mmask32 kOdd = 0xaaaaaaaau;
        _mm512_store_si512(cells[0][i], _mm512_mask_blend_epi16(kOdd, low, _mm512_slli_epi32(high, 16)));
        _mm512_store_si512(cells[1][i], _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(low, 16), high));
      }
      for (Index odd = 0; odd < 2; ++odd) {
        I32x16 turned[kTileRows];
        transpose_pairs(reinterpret_cast<const std::byte*>(cells[odd]), 64, turned);
#pragma GCC unroll 16
        for (int r = 0; r < kTileRows; ++r) _mm512_store_si512(units[u][r / 8][2 * r % kTileRows + odd], turned[r].raw);
      }
    }
  }
  static HWY_INLINE const BF16* values(const ConstFloatRows& x, Index t) {
    return reinterpret_cast<const BF16*>(x.row(t));
  }
  // Rows lie side by side.
  HWY_INLINE void pack_columns(const std::uint32_t* cells, Index stride, Index rows, Index count, Index t) {
    for (Index u = 0; u * kUnitCells < count; ++u) {
      const std::uint32_t* from = cells + u * kUnitCells * stride;
      const Index left = std::min(kUnitCells, count - u * kUnitCells);
      I32x16 turned[kTileRows];
      if (rows == kTileRows && left == kUnitCells) {
        transpose_pairs(reinterpret_cast<const std::byte*>(from), stride * 4, turned);
      } else {
        alignas(64) TileCells staged;
        copy_cells(from, stride, left, rows, staged);
        transpose_pairs(reinterpret_cast<const std::byte*>(staged), 64, turned);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) _mm512_store_si512(units[u][t][r], turned[r].raw);
    }
  }
};

template <class Tiles>
class DenseTiles {
 public:
  DenseTiles(const DenseLeft& a, const DenseRight& b, std::span<const Index> ends, DenseStore store, const FloatRows& c)
      : a_(a), b_(b), ends_(ends), store_(store), c_(c) {}

  HWY_INLINE void multiply() {
    if (c_.dtype == DType::kF32) {
      // Sums lie in c: a chunk of the right operand stays in the second cache while it meets all rows.
      for_chunks([this](Sums sums, Index begin, Index end) HWY_ATTR {
        for (Index row = 0; row < c_.rows; row += kBlockRows) {
          pack(row, begin, end);
          add_chunk(sums, begin, 0, c_.cols);
        }
      });
      return;
    }
    for (Index row = 0; row < c_.rows; row += kBlockRows) {
      for (Index first = 0; first < c_.cols; first += kSumCols) {
        const Index last = std::min(first + kSumCols, c_.cols);
        for_chunks([&](Sums sums, Index begin, Index end) HWY_ATTR {
          pack(row, begin, end);
          add_chunk(sums, begin, first, last);
        });
        write_sums(first, last);
      }
    }
  }

 private:
  // f(how its sums begin, first cell, end) per chunk.
  template <class F>
  HWY_INLINE void for_chunks(const F& f) {
    Sums sums = store_ == DenseStore::kSet ? Sums::kFromZero : Sums::kGoOn;
    Index begin = 0;
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      const Index end = ends_[i];
      if (i + 1 < ends_.size() && (end - begin) % kUnitCells == 0) continue;  // units go on as within one block
      for (; begin < end; begin = std::min(begin + kChunkCells, end), sums = Sums::kGoOn) {
        f(sums, begin, std::min(begin + kChunkCells, end));
      }
    }
  }

  HWY_INLINE void pack(Index row, Index begin, Index end) {
    if (row_ == row && begin_ == begin) return;
    row_ = row;
    begin_ = begin;
    rows_ = std::min(kBlockRows, c_.rows - row);
    units_ = (end - begin) / kUnitCells;
    tail_ = (end - begin) % kUnitCells;
    left_.pack(a_, row, rows_, begin, end);
  }

  // The packed rows of c, columns [first, last), gain a chunk.
  HWY_INLINE void add_chunk(Sums sums, Index begin, Index first, Index last) {
    for (Index col = first; col < last;) {
      const Index panel = col / kDensePanel, within = col % kDensePanel, width = b_.width(panel);
      const std::uint32_t* right = b_.panel(panel) + begin * width + within;
      const Index cols = std::min({2 * kUnitCells, width - within, round_up(last - col, kUnitCells)});
      if (rows_ > kTileRows) {
        if (cols > kUnitCells) add_tiles<2, 2>(sums, right, width, col, first);
        if (cols <= kUnitCells) add_tiles<2, 1>(sums, right, width, col, first);
      } else {
        if (cols > kUnitCells) add_tiles<1, 2>(sums, right, width, col, first);
        if (cols <= kUnitCells) add_tiles<1, 1>(sums, right, width, col, first);
      }
      col += cols;
    }
  }

  template <int kRowTiles, int kStrips>
  HWY_INLINE void add_tiles(Sums sums, const std::uint32_t* right, Index width, Index col, Index first) {
    const bool in_c = c_.dtype == DType::kF32, whole = rows_ == kRowTiles * kTileRows && c_.cols - col >= kStrips * 16;
    float* to = in_c && whole ? reinterpret_cast<float*>(c_.row(row_)) + col : sums_[0] + (in_c ? 0 : col - first);
    const Index stride = in_c && whole ? c_.stride : kSumCols;
    float* const at[4] = {to, to + 16, to + kTileRows * stride, to + kTileRows * stride + 16};
    const bool by_way = in_c && !whole;  // part of a tile is c's
    if (by_way && sums == Sums::kGoOn) exchange<kRowTiles, kStrips>(col, Way::kFromC);
    begin_sums<Tiles, kRowTiles, kStrips>(sums, at, stride * 4);
    if (units_ > 0) {
      const TileCells* const x[2] = {&left_.units[0][0], &left_.units[0][1]};
      const std::uint32_t* const w[2] = {right, right + kUnitCells};
      add_units<Tiles, kRowTiles, kStrips, StripUse::kStreamed>(x, {64, sizeof(left_.units[0])}, w,
                                                                {width * 4, width * 4 * kUnitCells}, units_);
    }
    if (tail_ > 0) {
      alignas(64) TileCells staged[kStrips];
      for (Index s = 0; s < kStrips; ++s)
        copy_cells(right + units_ * kUnitCells * width + s * kUnitCells, width, tail_, kUnitCells, staged[s]);
      const TileCells* const x[2] = {&left_.units[units_][0], &left_.units[units_][1]};
      const TileCells* const w[2] = {staged, staged + kStrips - 1};
      add_units<Tiles, kRowTiles, kStrips>(x, {}, w, {}, 1);
    }
    store_sums<Tiles, kRowTiles, kStrips>(at, stride * 4);
    if (by_way) exchange<kRowTiles, kStrips>(col, Way::kToC);
  }

  enum class Way { kFromC, kToC };
  template <int kRowTiles, int kStrips>
  HWY_INLINE void exchange(Index col, Way way) {
    for (Index r = 0; r < rows_; ++r) {
      for (Index n = 0; n < kStrips * 16 && col + n < c_.cols; n += 16) {
        if (way == Way::kFromC) store(load_values(c_, row_ + r, col + n, c_.cols - col - n), sums_[r] + n);
        if (way == Way::kToC) store_values(load(sums_[r] + n), c_, row_ + r, col + n, c_.cols - col - n);
      }
    }
  }

  HWY_INLINE void write_sums(Index first, Index last) {
    for (Index r = 0; r < rows_; ++r) {
      for (Index n = first; n < last; n += 16) {
        store_values(load(sums_[r] + n - first), c_, row_ + r, n, last - n);
      }
    }
  }

  const DenseLeft& a_;
  const DenseRight& b_;
  std::span<const Index> ends_;
  DenseStore store_;
  const FloatRows& c_;
  Index row_ = -1, begin_ = -1, rows_ = 0;  // that are packed: from which row and cell on, and how many
  Index units_ = 0, tail_ = 0;              // whole units of the chunk, and cells after them
  LeftBlock left_;
  alignas(64) float sums_[kBlockRows][kSumCols];
};

template <class Tiles>
HWY_NOINLINE void dense_on_tiles(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                                 DenseStore store_as, const FloatRows& c) {
  if (type == DType::kF32) return dense_multiply(type, a, b, ends, store_as, c);
  JERICHO_DCHECK(a.columns.data != nullptr || a.k_stride == 1 || a.row_stride == 1, "strides of {} and {} cells",
                 a.row_stride, a.k_stride);
  Tiles::configure(bf16_config(kTileRows));
  DenseTiles<Tiles>(a, b, ends, store_as, c).multiply();
  Tiles::release();
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
