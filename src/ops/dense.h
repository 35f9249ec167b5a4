// Dense products of training over the pool, on the operands of kernels/dense.h: y = x w^T, dx = dy w, dw += dy^T x. A
// weight is packed for one of its two uses just before; what a value is depends on neither threads nor the rows beside
// it. Start at pack_weight() and dense(); add_weight_gradient() is the third.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/dense.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "ops/stored_rows.h"
#include "tensor/view.h"

namespace jericho {

inline FloatRows as_rows(MatrixView<float> x) {
  return {reinterpret_cast<std::byte*>(x.data()), DType::kF32, x.extent(0), x.extent(1), x.row_stride()};
}

enum class WeightSide {
  kOutput,  // for y = x w^T: k runs along the weight's columns
  kInput,   // for dx = dy w: along its rows
};

struct PackedRight {  // views of somebody's scratch
  std::span<std::uint32_t> cells{};
  Index k_cells = 0;
  Index cols = 0;
};

// Cells that a weight [rows, cols] takes packed for either use.
Index packed_weight_cells(DType type, Index rows, Index cols);

// Weights that are not stored as fp32 are decoded tile by tile on the way: `tiles` has kTileValues per thread, none for
// fp32 ones. The cells are those of the decoded weight.
PackedRight pack_weight(const Context& context, DType type, const StoredRows& w, WeightSide side,
                        std::span<std::uint32_t> cells, std::span<float> tiles = {});

// y [T, w.cols] = x w, or y += x w for an fp32 y. x has `type`; bf16 rows are an even number of elements apart, and
// after an odd number of columns there is a zero.
void dense(const Context& context, DType type, const ConstFloatRows& x, const PackedRight& w, DenseStore store,
           const FloatRows& y);

// Where sums over tokens are cut: every kTokenBlock tokens of each sequence (docs/numerics.md 3). Both are even.
inline constexpr Index kTokenBlock = 256;
std::vector<Index> token_blocks(Index sequences, Index sequence_tokens, Index block = kTokenBlock);  // ends, in tokens

// Cells that add_weight_gradient() takes for `tokens`.
Index weight_gradient_cells(DType type, Index tokens, Index rows, Index cols);

// dw [out, in] += dy^T x, block by block. `ends` of token_blocks().
void add_weight_gradient(const Context& context, DType type, const ConstFloatRows& dy, const ConstFloatRows& x,
                         std::span<const Index> ends, std::span<std::uint32_t> cells, MatrixView<float> dw);

}  // namespace jericho
