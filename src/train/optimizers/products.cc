// Tiles of four rows by 256 columns: see products.h.
#include "train/optimizers/products.h"

#include <algorithm>
#include <array>

namespace jericho {
namespace {

constexpr Index kRows = 4, kCols = 256;

template <class Store>
void tiles(const Context& context, MatrixView<const float> a, MatrixView<const float> b, const Store& store) {
  const Index m = a.extent(0), depth = a.extent(1), n = b.extent(1);
  const Index across = ceil_div(n, kCols);
  parallel_for(context.pool, ceil_div(m, kRows) * across, 1, [&](Index begin, Index end, int) {
    for (Index tile = begin; tile < end; ++tile) {
      const Index row = tile / across * kRows, rows = std::min(kRows, m - row);
      const Index col = tile % across * kCols, cols = std::min(kCols, n - col);
      std::array<std::array<float, kCols>, kRows> sums{};
      for (Index k = 0; k < depth; ++k) {
        const float* const right = b.row(k).data() + col;
        for (Index r = 0; r < rows; ++r) {
          const float left = a.row(row + r)[static_cast<std::size_t>(k)];
          float* const sum = sums[static_cast<std::size_t>(r)].data();
          for (Index c = 0; c < cols; ++c) sum[c] += left * right[c];
        }
      }
      for (Index r = 0; r < rows; ++r) store(row + r, col, sums[static_cast<std::size_t>(r)].data(), cols);
    }
  });
}

}  // namespace

void multiply(const Context& context, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  tiles(context, a, b,
        [&](Index row, Index col, const float* sums, Index cols) { std::copy_n(sums, cols, c.row(row).data() + col); });
}

void multiply_add(const Context& context, float alpha, float beta, MatrixView<const float> a, MatrixView<const float> b,
                  MatrixView<float> c) {
  tiles(context, a, b, [&](Index row, Index col, const float* sums, Index cols) {
    float* const out = c.row(row).data() + col;
    for (Index i = 0; i < cols; ++i) out[i] = alpha * out[i] + beta * sums[i];
  });
}

void transpose(const Context& context, MatrixView<const float> x, MatrixView<float> out) {
  constexpr Index kSide = 32;
  const Index m = x.extent(0), n = x.extent(1);
  parallel_for(context.pool, n, kSide, [&](Index begin, Index end, int) {
    for (Index top = 0; top < m; top += kSide) {
      for (Index col = begin; col < end; ++col) {
        for (Index row = top; row < std::min(m, top + kSide); ++row)
          out.row(col)[static_cast<std::size_t>(row)] = x.row(row)[static_cast<std::size_t>(col)];
      }
    }
  });
}

}  // namespace jericho
