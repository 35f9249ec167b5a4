// Parts of the right operand, and what multiplies with them: see products.h.
#include "train/optimizers/products.h"

namespace jericho {
namespace {

void by_parts(const Context& context, MatrixView<const float> a, MatrixView<const float> b, WeightSide side,
              std::span<std::uint32_t> cells, MatrixView<float> c) {
  const Index n = c.extent(1), k = a.extent(1);
  const ConstFloatRows left = {reinterpret_cast<const std::byte*>(a.data()), DType::kF32, a.extent(0), k,
                               a.row_stride()};
  const FloatRows out = {reinterpret_cast<std::byte*>(c.data()), DType::kF32, c.extent(0), n, c.row_stride()};
  for (Index first = 0; first < n; first += kProductColumns) {
    const Index count = std::min(kProductColumns, n - first);
    const MatrixView<const float> part = side == WeightSide::kInput
                                             ? MatrixView<const float>(b.data() + first, k, count, b.row_stride())
                                             : MatrixView<const float>(b.row(first).data(), count, k, b.row_stride());
    const PackedRight packed = pack_weight(context, DType::kF32, part, side, cells);
    dense(context, DType::kF32, left, packed, DenseStore::kSet, out.columns(first, count));
  }
}

}  // namespace

void multiply(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
              std::span<std::uint32_t> cells, MatrixView<float> c) {
  by_parts(context, a, b, WeightSide::kInput, cells, c);
}

void multiply_transposed(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
                         std::span<std::uint32_t> cells, MatrixView<float> c) {
  by_parts(context, a, b, WeightSide::kOutput, cells, c);
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
