// Dense products of training: c[m,n] (+)= sum_k a[m,k] b[k,n], where both operands are new every step, so that packing
// is a part of the product. Operands are fp32, or rounded to bf16; sums are fp32.
//
// A cell is 32 bits along k: one fp32 value, or two bf16 values that follow one another (the lower k in the low half).
// The right operand lies in panels of up to 64 columns, cells[k][column]; the left one anywhere, given by two strides:
// rows of activations as they are, or columns of them by interleave(). An output value is one chain over k:
//   F32          acc = fma(a[k], b[k], acc)
//   BF16 pairs   acc = fma(a[2u], b[2u], fma(a[2u+1], b[2u+1], acc)): the odd one first, as vdpbf16ps has it
//   BF16 tiles   acc = acc + (even + odd): per 32 k, the last ones filled with zeros, an fma chain from +0 over the
//                even k and one over the odd, as tdpbf16ps has it
// so no cut of rows or columns changes a bit. Where k is cut into blocks (weight gradients over tokens,
// docs/numerics.md 3), chains begin anew with each: those of F32 and of pairs at +0, to be added to c in order; that of
// tiles goes on from c, its 32 k from the begin of the block. Which of the two a bf16 product has is the CPU path's,
// and part of what a run of training is (DenseOrder).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/half.h"
#include "base/index.h"
#include "tensor/dtype.h"

namespace jericho {

// Rows of fp32 or of bf16 values: a view. `stride` in elements.
template <class Byte>
struct BasicFloatRows {
  Byte* data = nullptr;
  DType dtype = DType::kF32;
  Index rows = 0;
  Index cols = 0;
  Index stride = 0;

  [[nodiscard]] Index element_bytes() const { return dtype == DType::kF32 ? 4 : 2; }
  [[nodiscard]] Byte* row(Index t) const { return data + t * stride * element_bytes(); }
  [[nodiscard]] BasicFloatRows part(Index first, Index count) const { return {row(first), dtype, count, cols, stride}; }
  [[nodiscard]] BasicFloatRows columns(Index first, Index count) const {
    return {data + first * element_bytes(), dtype, rows, count, stride};
  }
  operator BasicFloatRows<const std::byte>()
      const {  // NOLINT(google-explicit-constructor): adding const is always safe
    return {data, dtype, rows, cols, stride};
  }
};
using FloatRows = BasicFloatRows<std::byte>;
using ConstFloatRows = BasicFloatRows<const std::byte>;

inline FloatRows float_rows(float* data, Index rows, Index cols) {
  return {reinterpret_cast<std::byte*>(data), DType::kF32, rows, cols, cols};
}
inline ConstFloatRows float_rows(const float* data, Index rows, Index cols) {
  return {reinterpret_cast<const std::byte*>(data), DType::kF32, rows, cols, cols};
}

inline constexpr Index kDensePanel = 64;

constexpr Index dense_cells(DType type, Index k) { return type == DType::kF32 ? k : ceil_div(k, 2); }
constexpr Index dense_panels(Index cols) { return ceil_div(cols, kDensePanel); }
constexpr Index dense_panel_width(Index cols, Index panel) {  // in cells: whole vectors of 16
  const Index left = round_up(cols, 16) - panel * kDensePanel;
  return left < kDensePanel ? left : kDensePanel;
}
constexpr Index dense_right_cells(Index k_cells, Index cols) { return k_cells * round_up(cols, 16); }
constexpr Index dense_panel_offset(Index k_cells, Index panel) { return panel * k_cells * kDensePanel; }

struct DenseLeft {  // a[m,k] is cells[m * row_stride + k * k_stride], strides in cells
  const std::uint32_t* cells = nullptr;
  Index row_stride = 0;
  Index k_stride = 1;
  // For tiles, in place of cells: bf16 rows whose columns are a's rows, so that a[m,k] is columns[2k][m], [2k+1][m].
  ConstFloatRows columns{};
};

enum class DenseStore {
  kSet,  // c = sum; one block
  kAdd,  // c gains the sum, block by block; c is fp32
};

struct DenseRight {  // some panels of the right operand, from the first column of c on
  const std::uint32_t* cells = nullptr;
  Index k_cells = 0;  // of a whole column
  Index cols = 0;     // of all these panels; c may have fewer
  Index begin = 0;    // the cell of a column that meets a[m,0]

  [[nodiscard]] Index width(Index panel) const { return dense_panel_width(cols, panel); }
  [[nodiscard]] const std::uint32_t* panel(Index index) const {
    return cells + dense_panel_offset(k_cells, index) + begin * width(index);
  }
  [[nodiscard]] DenseRight from(Index panel) const {
    return {cells + dense_panel_offset(k_cells, panel), k_cells, cols - panel * kDensePanel, begin};
  }
};

enum class DenseOrder { kPairs, kTiles };  // of bf16 products

namespace ref {

// out[u * out_stride + c] is the cell of rows 2u and 2u + 1 (F32: of row u), column c. Zeros after the last row and in
// columns [x.cols, padded_cols).
void dense_interleave(DType type, const ConstFloatRows& x, Index padded_cols, std::uint32_t* out, Index out_stride);

// out[u * width + n] is the cell of columns 2u and 2u + 1 (F32: of column u), row n. Zeros after the last row.
void dense_transpose(DType type, const ConstFloatRows& x, std::uint32_t* out, Index width);

// c [rows, at most b.cols]; the blocks of k end at `ends`, in cells. In pairs, or in tiles.
void dense_multiply(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends, DenseStore store,
                    const FloatRows& c);
void dense_multiply_tiles(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                          DenseStore store, const FloatRows& c);

}  // namespace ref
}  // namespace jericho
