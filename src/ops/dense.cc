// How dense products are cut into parts: see dense.h.
#include "ops/dense.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

constexpr Index kRowsPerPart = 96;   // whole tiles of every width of panel
constexpr Index kPanelsPerPart = 4;  // that share the rows while they are in cache
constexpr Index kLeftPanel = 48;     // columns of dy side by side, whole tiles again

// A tile of the weight lies in one panel of outputs, or gives some rows of each of its panels of inputs.
void pack_decoded(const Context& context, DType type, const StoredRows& w, WeightSide side, const PackedRight& packed,
                  std::span<float> tiles) {
  static_assert(kTileRows == kDensePanel && kTileCols % kDensePanel == 0);
  JERICHO_CHECK(static_cast<Index>(tiles.size()) >= context.pool.threads() * kTileValues, "{} values for tiles",
                tiles.size());
  const FileRowKernels& decode = file_row_kernels_for(context.kernels.path);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index across = ceil_div(w.cols, kTileCols);
  const auto tile = [&](Index index, int worker) {
    const Index row = index / across * kTileRows, col = index % across * kTileCols;
    const Index rows = std::min(kTileRows, w.rows - row), cols = std::min(kTileCols, w.cols - col);
    float* const values = tiles.data() + worker * kTileValues;
    for (Index r = 0; r < rows; ++r) decode_columns(decode, w, row + r, col, cols, values + r * kTileCols);
    const ConstFloatRows x = {reinterpret_cast<const std::byte*>(values), DType::kF32, rows, cols, kTileCols};
    const auto place = [&](Index panel, Index k, Index width) {
      return packed.cells.data() + dense_panel_offset(packed.k_cells, panel) + dense_cells(type, k) * width;
    };
    if (side == WeightSide::kOutput) {
      const Index panel = row / kDensePanel, width = dense_panel_width(w.rows, panel);
      kernels.dense_transpose(type, x, place(panel, col, width), width);
      return;
    }
    for (Index first = 0; first < cols; first += kDensePanel) {
      const Index panel = (col + first) / kDensePanel, width = dense_panel_width(w.cols, panel);
      kernels.dense_interleave(type, x.columns(first, std::min(width, cols - first)), width, place(panel, row, width),
                               width);
    }
  };
  context.pool.run(ceil_div(w.rows, kTileRows) * across, tile);
}

}  // namespace

Index packed_weight_cells(DType type, Index rows, Index cols) {
  return std::max(dense_right_cells(dense_cells(type, cols), rows), dense_right_cells(dense_cells(type, rows), cols));
}

PackedRight pack_weight(const Context& context, DType type, const StoredRows& w, WeightSide side,
                        std::span<std::uint32_t> cells, std::span<float> tiles) {
  const Index rows = w.rows, cols = w.cols;
  const bool output = side == WeightSide::kOutput;
  const PackedRight packed = {cells, dense_cells(type, output ? cols : rows), output ? rows : cols};
  JERICHO_CHECK(static_cast<Index>(cells.size()) >= dense_right_cells(packed.k_cells, packed.cols),
                "{} cells for {} x {}", cells.size(), rows, cols);
  if (w.dtype != DType::kF32) {
    pack_decoded(context, type, w, side, packed, tiles);
    return packed;
  }
  const ConstFloatRows x = {w.data, DType::kF32, rows, cols, w.row_stride.count / 4};
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const auto pack = [&](Index panel, int) {
    const Index first = panel * kDensePanel, width = dense_panel_width(packed.cols, panel);
    const Index count = std::min(width, packed.cols - first);
    std::uint32_t* out = cells.data() + dense_panel_offset(packed.k_cells, panel);
    if (output) {
      kernels.dense_transpose(type, x.part(first, count), out, width);
    } else {
      kernels.dense_interleave(type, x.columns(first, count), width, out, width);
    }
  };
  context.pool.run(dense_panels(packed.cols), pack);
  return packed;
}

void dense(const Context& context, DType type, const ConstFloatRows& x, const PackedRight& w, DenseStore store,
           const FloatRows& y) {
  JERICHO_CHECK(x.dtype == type && x.rows == y.rows && w.cols == y.cols && dense_cells(type, x.cols) == w.k_cells,
                "x {} [{}, {}], w {} cells by {}, y [{}, {}]", name(x.dtype), x.rows, x.cols, w.k_cells, w.cols, y.rows,
                y.cols);
  JERICHO_CHECK(type == DType::kF32 || x.stride % 2 == 0, "rows {} apart are no pairs", x.stride);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index groups = ceil_div(dense_panels(w.cols), kPanelsPerPart);
  const Index cells_per_row = dense_cells(type, x.stride);
  const auto multiply = [&](Index part, int) {
    const Index first = part / groups * kRowsPerPart, rows = std::min(kRowsPerPart, y.rows - first);
    const DenseLeft left = {reinterpret_cast<const std::uint32_t*>(x.row(first)), cells_per_row, 1};
    const Index begin = part % groups * kPanelsPerPart, end = std::min(begin + kPanelsPerPart, dense_panels(w.cols));
    const Index column = begin * kDensePanel, count = std::min(end * kDensePanel, w.cols) - column;
    const DenseRight right = DenseRight{w.cells.data(), w.k_cells, w.cols}.from(begin);
    kernels.dense_multiply(type, left, right, {&w.k_cells, 1}, store, y.part(first, rows).columns(column, count));
  };
  context.pool.run(ceil_div(y.rows, kRowsPerPart) * groups, multiply);
}

std::vector<Index> token_blocks(Index sequences, Index sequence_tokens, Index block) {
  std::vector<Index> ends;
  for (Index sequence = 0; sequence < sequences; ++sequence) {
    for (Index at = 0; at < sequence_tokens; at += block) {
      ends.push_back(sequence * sequence_tokens + std::min(at + block, sequence_tokens));
    }
  }
  return ends;
}

Index weight_gradient_cells(DType type, Index tokens, Index rows, Index cols) {
  return dense_cells(type, tokens) * (round_up(rows, kLeftPanel) + round_up(cols, 16));
}

void add_weight_gradient(const Context& context, DType type, const ConstFloatRows& dy, const ConstFloatRows& x,
                         std::span<const Index> ends, std::span<std::uint32_t> cells, MatrixView<float> dw) {
  const Index tokens = dy.rows, out = dy.cols, in = x.cols, k_cells = dense_cells(type, tokens);
  JERICHO_CHECK(x.rows == tokens && dw.extent(0) == out && dw.extent(1) == in && ends.back() == tokens,
                "dy [{}, {}], x [{}, {}], dw [{}, {}]", tokens, out, x.rows, in, dw.extent(0), dw.extent(1));
  JERICHO_CHECK(static_cast<Index>(cells.size()) >= weight_gradient_cells(type, tokens, out, in), "{} cells",
                cells.size());
  std::vector<Index> cell_ends(ends.size());
  std::transform(ends.begin(), ends.end(), cell_ends.begin(), [&](Index end) {
    JERICHO_CHECK(type == DType::kF32 || end % 2 == 0, "a block ends at token {}", end);
    return dense_cells(type, end);
  });
  const Index left_panels = ceil_div(out, kLeftPanel), right_panels = dense_panels(in);
  std::uint32_t* left = cells.data();
  std::uint32_t* right = left + k_cells * left_panels * kLeftPanel;
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const auto pack = [&](Index part, int) {
    if (part < left_panels) {
      const Index first = part * kLeftPanel, count = std::min(kLeftPanel, out - first);
      kernels.dense_interleave(type, dy.columns(first, count), kLeftPanel, left + k_cells * first, kLeftPanel);
    } else {
      const Index panel = part - left_panels, first = panel * kDensePanel, width = dense_panel_width(in, panel);
      kernels.dense_interleave(type, x.columns(first, std::min(width, in - first)), width,
                               right + dense_panel_offset(k_cells, panel), width);
    }
  };
  context.pool.run(left_panels + right_panels, pack);
  const FloatRows c = {reinterpret_cast<std::byte*>(dw.data()), DType::kF32, out, in, dw.row_stride()};
  const Index groups = ceil_div(right_panels, kPanelsPerPart);
  const auto multiply = [&](Index part, int) {
    const Index row = part / groups * kLeftPanel, rows = std::min(kLeftPanel, out - row);
    const DenseLeft a = {left + k_cells * row, 1, kLeftPanel};
    const Index begin = part % groups * kPanelsPerPart, end = std::min(begin + kPanelsPerPart, right_panels);
    const Index column = begin * kDensePanel, count = std::min(end * kDensePanel, in) - column;
    kernels.dense_multiply(type, a, DenseRight{right, k_cells, in}.from(begin), cell_ends, DenseStore::kAdd,
                           c.part(row, rows).columns(column, count));
  };
  context.pool.run(left_panels * groups, multiply);
}

}  // namespace jericho
