// How dense products are cut into parts: see dense.h.
#include "ops/dense.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

// How a product is cut: some panels are in the second cache while they meet a part's rows. On tiles these are many.
struct Cut {
  Index rows, panels;
};

// Of a product with so many rows and panels; of whole tiles of every width of panel (48 rows in pairs, 32 on tiles).
Cut cut(const TrainingKernels& kernels, Index rows, Index panels, int threads) {
  if (kernels.dense_order == DenseOrder::kPairs) return {96, 4};
  constexpr Index kPanels = 8;
  Cut parts = {256, std::min(kPanels, panels)};
  // Several parts for each thread.
  const auto count = [&] { return ceil_div(rows, parts.rows) * ceil_div(panels, parts.panels); };
  while (parts.rows > 64 && count() < 2 * threads) parts.rows /= 2;
  return parts;
}

constexpr Index kLeftPanel = 48;         // columns of dy side by side: whole tiles again
constexpr Index kInterleavedRows = 128;  // at once

// Rows from `first` on of what the panels hold, as cells.
void interleave(const TrainingKernels& kernels, DType type, const ConstFloatRows& x, const PackedRight& packed,
                Index first) {
  for (Index panel = 0; panel < dense_panels(packed.cols); ++panel) {
    const Index column = panel * kDensePanel, width = dense_panel_width(packed.cols, panel);
    std::uint32_t* cells = packed.cells.data() + dense_panel_offset(packed.k_cells, panel);
    kernels.dense_interleave(type, x.columns(column, std::min(width, packed.cols - column)), width,
                             cells + dense_cells(type, first) * width, width);
  }
}

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

// Both operands are interleaved once, then parts of the gradient are multiplied.
void gradient_in_pairs(const Context& context, DType type, const ConstFloatRows& dy, const ConstFloatRows& x,
                       std::span<const Index> ends, std::span<std::uint32_t> cells, const FloatRows& dw) {
  const Index tokens = dy.rows, out = dy.cols, in = x.cols, k_cells = dense_cells(type, tokens);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index left_panels = ceil_div(out, kLeftPanel), bands = ceil_div(tokens, kInterleavedRows);
  std::uint32_t* left = cells.data();
  const PackedRight packed = {cells.subspan(static_cast<std::size_t>(k_cells * left_panels * kLeftPanel)), k_cells, in};
  const auto pack = [&](Index part, int) {
    if (part < bands) {
      const Index token = part * kInterleavedRows;
      interleave(kernels, type, x.part(token, std::min(kInterleavedRows, tokens - token)), packed, token);
    } else {
      const Index first = (part - bands) * kLeftPanel, count = std::min(kLeftPanel, out - first);
      kernels.dense_interleave(type, dy.columns(first, count), kLeftPanel, left + k_cells * first, kLeftPanel);
    }
  };
  context.pool.run(bands + left_panels, pack);
  const Index panels = cut(kernels, out, dense_panels(in), context.pool.threads()).panels;
  const Index groups = ceil_div(dense_panels(in), panels);
  const auto multiply = [&](Index part, int) {
    const Index row = part / groups * kLeftPanel, rows = std::min(kLeftPanel, out - row);
    const Index begin = part % groups * panels, end = std::min(begin + panels, dense_panels(in));
    const Index column = begin * kDensePanel, count = std::min(end * kDensePanel, in) - column;
    kernels.dense_multiply(type, {left + k_cells * row, 1, kLeftPanel},
                           DenseRight{packed.cells.data(), k_cells, in}.from(begin), ends, DenseStore::kAdd,
                           dw.part(row, rows).columns(column, count));
  };
  context.pool.run(left_panels * groups, multiply);
}

struct TokenChunk {  // whole blocks of tokens, or units of one; in cells
  Index begin = 0;
  std::vector<Index> ends{};  // of the blocks, from `begin` on
};

std::vector<TokenChunk> token_chunks(std::span<const Index> ends, Index most) {
  std::vector<TokenChunk> chunks;
  Index at = 0;
  for (const Index end : ends) {
    while (at < end) {
      const Index next = std::min(at + most, end);
      if (chunks.empty() || next - chunks.back().begin > most) chunks.push_back({.begin = at});
      chunks.back().ends.push_back(next - chunks.back().begin);
      at = next;
    }
  }
  return chunks;
}

// A thread interleaves the x that it multiplies itself, some tokens and columns at a time that stay in its second
// cache; dy is read as it lies.
void gradient_on_tiles(const Context& context, const ConstFloatRows& dy, const ConstFloatRows& x,
                       std::span<const Index> ends, std::span<std::uint32_t> cells, const FloatRows& dw) {
  constexpr Index kCells = 256, kCols = 512, kRows = 256;
  const Index out = dy.cols, in = x.cols, threads = context.pool.threads();
  const Index piece = std::min(kCells, ends.back()) * round_up(std::min(kCols, in), 16);
  const Index pieces = std::min(threads, static_cast<Index>(cells.size()) / piece);
  // Parts of the gradient's rows: a piece for each thread, or for each part.
  const Index parts = pieces < threads ? pieces : threads * std::clamp<Index>(out / (threads * kRows), 1, 4);
  const Index band = round_up(ceil_div(out, parts), 32);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const std::vector<TokenChunk> chunks = token_chunks(ends, kCells);
  const auto multiply = [&](Index part, int worker) {
    const Index row = part * band, rows = std::min(band, out - row);
    if (rows <= 0) return;
    const Index taken = pieces < threads ? part : worker;
    const std::span<std::uint32_t> own = cells.subspan(static_cast<std::size_t>(taken * piece));
    for (Index column = 0; column < in; column += kCols) {
      const Index count = std::min(kCols, in - column);
      const FloatRows c = dw.part(row, rows).columns(column, count);
      for (const TokenChunk& chunk : chunks) {
        const Index first = 2 * chunk.begin, tokens = std::min(2 * chunk.ends.back(), x.rows - first);
        const PackedRight packed = {own, chunk.ends.back(), count};
        interleave(kernels, DType::kBF16, x.part(first, tokens).columns(column, count), packed, 0);
        kernels.dense_multiply(DType::kBF16, {.columns = dy.part(first, tokens).columns(row, rows)},
                               {own.data(), packed.k_cells, count}, chunk.ends, DenseStore::kAdd, c);
      }
    }
  };
  context.pool.run(parts, multiply);
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
  if (output) {
    const auto pack = [&](Index panel, int) {
      const Index first = panel * kDensePanel, width = dense_panel_width(rows, panel);
      kernels.dense_transpose(type, x.part(first, std::min(width, rows - first)),
                              cells.data() + dense_panel_offset(packed.k_cells, panel), width);
    };
    context.pool.run(dense_panels(rows), pack);
  } else {
    const auto pack = [&](Index part, int) {
      const Index first = part * kInterleavedRows;
      interleave(kernels, type, x.part(first, std::min(kInterleavedRows, rows - first)), packed, first);
    };
    context.pool.run(ceil_div(rows, kInterleavedRows), pack);
  }
  return packed;
}

void dense(const Context& context, DType type, const ConstFloatRows& x, const PackedRight& w, DenseStore store,
           const FloatRows& y) {
  JERICHO_CHECK(x.dtype == type && x.rows == y.rows && w.cols == y.cols && dense_cells(type, x.cols) == w.k_cells,
                "x {} [{}, {}], w {} cells by {}, y [{}, {}]", name(x.dtype), x.rows, x.cols, w.k_cells, w.cols, y.rows,
                y.cols);
  JERICHO_CHECK(type == DType::kF32 || x.stride % 2 == 0, "rows {} apart are no pairs", x.stride);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Cut parts = cut(kernels, y.rows, dense_panels(w.cols), context.pool.threads());
  const Index bands = ceil_div(y.rows, parts.rows);
  const Index cells_per_row = dense_cells(type, x.stride);
  const auto multiply = [&](Index part, int) {
    const Index first = part % bands * parts.rows, rows = std::min(parts.rows, y.rows - first);
    const DenseLeft left = {reinterpret_cast<const std::uint32_t*>(x.row(first)), cells_per_row, 1};
    const Index begin = part / bands * parts.panels, end = std::min(begin + parts.panels, dense_panels(w.cols));
    const Index column = begin * kDensePanel, count = std::min(end * kDensePanel, w.cols) - column;
    const DenseRight right = DenseRight{w.cells.data(), w.k_cells, w.cols}.from(begin);
    kernels.dense_multiply(type, left, right, {&w.k_cells, 1}, store, y.part(first, rows).columns(column, count));
  };
  context.pool.run(bands * ceil_div(dense_panels(w.cols), parts.panels), multiply);
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
  const Index tokens = dy.rows, out = dy.cols, in = x.cols;
  JERICHO_CHECK(x.rows == tokens && dw.extent(0) == out && dw.extent(1) == in && ends.back() == tokens,
                "dy [{}, {}], x [{}, {}], dw [{}, {}]", tokens, out, x.rows, in, dw.extent(0), dw.extent(1));
  JERICHO_CHECK(static_cast<Index>(cells.size()) >= weight_gradient_cells(type, tokens, out, in), "{} cells",
                cells.size());
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  std::vector<Index> cell_ends(ends.size());
  std::transform(ends.begin(), ends.end(), cell_ends.begin(), [&](Index end) {
    JERICHO_CHECK(type == DType::kF32 || end % 2 == 0, "a block ends at token {}", end);
    return dense_cells(type, end);
  });
  const FloatRows c = {reinterpret_cast<std::byte*>(dw.data()), DType::kF32, out, in, dw.row_stride()};
  if (kernels.dense_order == DenseOrder::kTiles && dy.dtype == DType::kBF16) {
    gradient_on_tiles(context, dy, x, cell_ends, cells, c);
  } else {
    gradient_in_pairs(context, type, dy, x, cell_ends, cells, c);
  }
}

}  // namespace jericho
