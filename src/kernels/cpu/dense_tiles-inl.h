// The inner loop of dense products (kernels/dense.h): a tile of c in registers, a row of the panel against a column of
// the left operand per step. Templates over Product, the arithmetic of one cell, which lives in an unnamed namespace:
// each file instantiates its own, under its own target attributes.
// Start at multiply_panels().
#include <algorithm>
#include <span>

#include "kernels/dense.h"

#if defined(JERICHO_DENSE_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_DENSE_TILES_INL_H_
#undef JERICHO_DENSE_TILES_INL_H_
#else
#define JERICHO_DENSE_TILES_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/float_rows16-inl.h"
#include "kernels/cpu/lanes-inl.h"

#ifdef JERICHO_DENSE_ATTRIBUTES
HWY_PUSH_ATTRIBUTES(JERICHO_DENSE_ATTRIBUTES)
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE I32x16 load_cells(const std::uint32_t* x) { return load_int(reinterpret_cast<const std::int32_t*>(x)); }

HWY_INLINE void store_tile_row(F32x16 sum, DenseStore store_as, const FloatRows& c, Index m, Index n, Index count) {
  if (store_as == DenseStore::kAdd) sum = add(load_values(c, m, n, count), sum);
  store_values(sum, c, m, n, count);
}

struct DensePanel {  // of the right operand
  const std::uint32_t* cells;
  Index width;  // in cells
  Index cols;   // of c that it makes: at most width
};

// kRows rows of c from `m` on, kVectors vectors of columns from `n` on.
template <class Product, int kRows, int kVectors>
HWY_INLINE void multiply_tile(const DenseLeft& a, const DensePanel& b, std::span<const Index> ends, DenseStore store_as,
                              const FloatRows& c, Index m, Index n) {
  const std::uint32_t* left = a.cells + m * a.row_stride;
  const std::uint32_t* right = b.cells + n;
  Index k = 0;
  for (const Index end : ends) {
    F32x16 sum[kRows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = zero();
    }
    for (; k < end; ++k) {
      typename Product::Right x[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) x[v] = Product::right(right + k * b.width + 16 * v);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const typename Product::Left y = Product::left(left + r * a.row_stride + k * a.k_stride);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[r][v] = Product::add(y, x[v], sum[r][v]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        if (n + 16 * v < b.cols) store_tile_row(sum[r][v], store_as, c, m + r, n + 16 * v, b.cols - n - 16 * v);
      }
    }
  }
}

template <class Product, int kRows, int kVectors>
void multiply_columns(const DenseLeft& a, const DensePanel& b, std::span<const Index> ends, DenseStore store_as,
                      const FloatRows& c, Index n) {
  Index m = 0;
  for (; m + kRows <= c.rows; m += kRows) multiply_tile<Product, kRows, kVectors>(a, b, ends, store_as, c, m, n);
  if constexpr (kRows > 4) {
    for (; m + 4 <= c.rows; m += 4) multiply_tile<Product, 4, kVectors>(a, b, ends, store_as, c, m, n);
  }
  for (; m + 2 <= c.rows; m += 2) multiply_tile<Product, 2, kVectors>(a, b, ends, store_as, c, m, n);
  for (; m < c.rows; ++m) multiply_tile<Product, 1, kVectors>(a, b, ends, store_as, c, m, n);
}

// As many rows as leave registers for a row of the panel and one value of the left operand.
template <class Product>
void multiply_panel(const DenseLeft& a, const DensePanel& b, std::span<const Index> ends, DenseStore store_as,
                    const FloatRows& c) {
  if constexpr (kWide) {
    switch (b.width / 16) {
      case 4: return multiply_columns<Product, 6, 4>(a, b, ends, store_as, c, 0);
      case 3: return multiply_columns<Product, 8, 3>(a, b, ends, store_as, c, 0);
      case 2: return multiply_columns<Product, 12, 2>(a, b, ends, store_as, c, 0);
      default: return multiply_columns<Product, 12, 1>(a, b, ends, store_as, c, 0);
    }
  } else {
    for (Index n = 0; n < b.width; n += 16) multiply_columns<Product, 4, 1>(a, b, ends, store_as, c, n);
  }
}

template <class Product>
void multiply_panels(const DenseLeft& a, const DenseRight& b, std::span<const Index> ends, DenseStore store_as,
                     const FloatRows& c) {
  for (Index panel = 0; panel * kDensePanel < c.cols; ++panel) {
    const Index first = panel * kDensePanel, cols = std::min(b.width(panel), c.cols - first);
    multiply_panel<Product>(a, {b.panel(panel), b.width(panel), cols}, ends, store_as, c.columns(first, cols));
  }
}

}  // namespace
}  // namespace jericho::kernels::HWY_NAMESPACE
#ifdef JERICHO_DENSE_ATTRIBUTES
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif

#endif  // per-target guard
