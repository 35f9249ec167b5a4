// Tiles of queries against packed keys: see causal_attention.h.
#include "ops/causal_attention.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

constexpr Index kKeyPanel = 48;  // keys side by side where they are rows of a product in pairs

bool on_tiles(const TrainingKernels& kernels, DType type) {
  return type == DType::kBF16 && kernels.dense_order == DenseOrder::kTiles;
}

// Queries of a tile: whole tiles of the products. How their sums are cut depends on it, as on the order of products.
Index query_tile(const TrainingKernels& kernels, DType type) { return on_tiles(kernels, type) ? kQueryTile : 48; }

struct Operand {  // packed; all of its panels
  std::span<std::uint32_t> cells{};
  Index k_cells = 0;
  Index cols = 0;

  [[nodiscard]] DenseRight right() const { return {cells.data(), k_cells, cols}; }
};

template <class S>
Operand take_operand(S& scratch, Index k_cells, Index cols) {
  return {scratch.template take<std::uint32_t>(dense_right_cells(k_cells, cols)), k_cells, cols};
}

// What a thread holds; of segments with n rows.
struct Buffers {
  Operand k_transposed, v_transposed;  // [D, n]: scores, and gradients of probabilities
  Operand k_rows, v_rows;              // [n, D]
  Operand q_tile, dout_tile;           // [kQueryTile, D]
  std::span<float> s, dp, out, delta;
  std::span<std::byte> p, ds;
  std::span<std::uint32_t> left;  // columns of p or ds as rows of a product

  template <class S>
  static Buffers take(S& scratch, const CausalAttention& c, Index n, bool backward) {
    Buffers b;
    const Index d_cells = dense_cells(c.type, c.head_dim), n_cells = dense_cells(c.type, n);
    const Index tile_cells = dense_cells(c.type, kQueryTile), padded = round_up(n, 16);
    const Index bytes = c.type == DType::kF32 ? 4 : 2;
    b.k_transposed = take_operand(scratch, d_cells, n);
    b.s = scratch.template take<float>(kQueryTile * padded);
    b.p = scratch.template take<std::byte>(kQueryTile * padded * bytes);
    if (!backward) {
      b.v_rows = take_operand(scratch, n_cells, c.head_dim);
      b.out = scratch.template take<float>(kQueryTile * c.head_dim);
      return b;
    }
    b.v_transposed = take_operand(scratch, d_cells, n);
    b.k_rows = take_operand(scratch, n_cells, c.head_dim);
    b.q_tile = take_operand(scratch, tile_cells, c.head_dim);
    b.dout_tile = take_operand(scratch, tile_cells, c.head_dim);
    b.dp = scratch.template take<float>(kQueryTile * padded);
    b.ds = scratch.template take<std::byte>(kQueryTile * padded * bytes);
    b.delta = scratch.template take<float>(kQueryTile);
    b.left = scratch.template take<std::uint32_t>(tile_cells * kKeyPanel);
    return b;
  }
};

// One segment and one head of keys, seen by `group` heads of queries.
class Part {
 public:
  Part(const TrainingKernels& kernels, const CausalAttention& shape, AttentionSegment segment)
      : kernels_(kernels), c_(shape), segment_(segment), d_cells_(dense_cells(shape.type, shape.head_dim)) {}

  struct Tile {
    Index first, rows;    // queries, within the segment
    Index column, cols;   // keys: from a panel's begin to the last one seen
    Index padded;         // columns that the rows of scores have
    VisibleKeys visible;  // relative to `column`
    [[nodiscard]] Index panel() const { return column / kDensePanel; }
  };
  [[nodiscard]] Tile tile(Index first) const {
    const Index rows = std::min(query_tile(kernels_, c_.type), segment_.rows - first);
    const Index lowest = c_.window > 0 ? first - c_.window + 1 : 0;  // of the first row
    const Index column = std::max<Index>(lowest, 0) / kDensePanel * kDensePanel;
    const Index cols = first + rows - column;
    // Without a window the first visible key moves beyond no row.
    const Index begin = c_.window > 0 ? lowest - column : -segment_.rows;
    return {first, rows, column, cols, round_up(cols, 16), {begin, first + 1 - column}};
  }

  [[nodiscard]] ConstFloatRows rows_of(const ConstFloatRows& x, Index head, Index first, Index count) const {
    return x.part(segment_.first + first, count).columns(head * c_.head_dim, c_.head_dim);
  }
  [[nodiscard]] FloatRows rows_of(const FloatRows& x, Index head, Index first, Index count) const {
    return x.part(segment_.first + first, count).columns(head * c_.head_dim, c_.head_dim);
  }

  void pack_transposed(const ConstFloatRows& x, Index head, const Operand& out) const {
    for (Index panel = 0; panel < dense_panels(out.cols); ++panel) {
      const Index first = panel * kDensePanel, width = dense_panel_width(out.cols, panel);
      kernels_.dense_transpose(c_.type, rows_of(x, head, first, std::min(width, out.cols - first)),
                               out.cells.data() + dense_panel_offset(out.k_cells, panel), width);
    }
  }
  void pack_rows(const ConstFloatRows& x, const Operand& out) const {  // x [<= out's rows, D]
    for (Index panel = 0; panel < dense_panels(out.cols); ++panel) {
      const Index first = panel * kDensePanel, width = dense_panel_width(out.cols, panel);
      kernels_.dense_interleave(c_.type, x.columns(first, std::min(width, out.cols - first)), width,
                                out.cells.data() + dense_panel_offset(out.k_cells, panel), width);
    }
  }

  // s [rows, padded] = x y^T, columns of the tile; x [rows, D].
  void scores(const Tile& t, const ConstFloatRows& x, const Operand& y, std::span<float> s) const {
    const FloatRows out = float_rows(s.data(), t.rows, t.padded);
    const DenseLeft left = {reinterpret_cast<const std::uint32_t*>(x.data), dense_cells(c_.type, x.stride), 1};
    // Whole vectors: those beyond the tile are keys that no row sees, or zeros.
    kernels_.dense_multiply(c_.type, left, y.right().from(t.panel()), {&d_cells_, 1}, DenseStore::kSet, out);
  }

  // out [rows, D] = x y over the tile's keys; x [rows, padded], y [n, D].
  void over_keys(const Tile& t, const ConstFloatRows& x, const Operand& y, const FloatRows& out) const {
    const DenseLeft left = {reinterpret_cast<const std::uint32_t*>(x.data), dense_cells(c_.type, x.stride), 1};
    const Index cells = dense_cells(c_.type, t.cols);
    DenseRight right = y.right();
    right.begin = dense_cells(c_.type, t.column);
    kernels_.dense_multiply(c_.type, left, right, {&cells, 1}, DenseStore::kSet, out);
  }

  // out [keys of the tile, D] += x^T y over the tile's queries; x [rows, padded].
  void add_over_queries(const Tile& t, const ConstFloatRows& x, const Operand& y, std::span<std::uint32_t> left_cells,
                        const FloatRows& out) const {
    const Index cells = dense_cells(c_.type, t.rows);
    if (on_tiles(kernels_, c_.type)) {
      kernels_.dense_multiply(c_.type, {.columns = x.columns(0, t.cols)}, y.right(), {&cells, 1}, DenseStore::kAdd,
                              out);
      return;
    }
    for (Index first = 0; first < t.cols; first += kKeyPanel) {
      const Index count = std::min(kKeyPanel, t.cols - first);
      kernels_.dense_interleave(c_.type, x.columns(first, count), kKeyPanel, left_cells.data(), kKeyPanel);
      const DenseLeft left = {left_cells.data(), 1, kKeyPanel};
      kernels_.dense_multiply(c_.type, left, y.right(), {&cells, 1}, DenseStore::kAdd, out.part(first, count));
    }
  }

 private:
  const TrainingKernels& kernels_;
  const CausalAttention& c_;
  AttentionSegment segment_;
  Index d_cells_;
};

FloatRows typed_rows(std::span<std::byte> bytes, DType type, Index rows, Index cols) {
  return {bytes.data(), type, rows, cols, cols};
}

FloatRows rows_of_matrix(MatrixView<float> x) {
  return {reinterpret_cast<std::byte*>(x.data()), DType::kF32, x.extent(0), x.extent(1), x.row_stride()};
}

Bytes thread_scratch(const CausalAttention& shape, Index rows, bool backward) {
  ScratchSize size;
  Buffers::take(size, shape, rows, backward);
  return size.peak();
}

}  // namespace

Bytes causal_attention_scratch(const CausalAttention& shape, Index rows) { return thread_scratch(shape, rows, false); }
Bytes causal_attention_backward_scratch(const CausalAttention& shape, Index rows) {
  return thread_scratch(shape, rows, true);
}

void causal_attention(const Context& context, const CausalAttention& shape, std::span<const AttentionSegment> segments,
                      const ConstFloatRows& q, const ConstFloatRows& k, const ConstFloatRows& v, const FloatRows& out,
                      const SoftmaxRows& softmax, std::span<std::byte> scratch) {
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index group = shape.heads / shape.kv_heads;
  const std::size_t piece = scratch.size() / static_cast<std::size_t>(context.pool.threads()) / 64 * 64;
  const auto attend = [&](Index part, int worker) {
    const AttentionSegment& segment = segments[static_cast<std::size_t>(part / shape.kv_heads)];
    const Index kv_head = part % shape.kv_heads;
    Scratch bump(scratch.subspan(piece * static_cast<std::size_t>(worker), piece));
    const Buffers b = Buffers::take(bump, shape, segment.rows, false);
    const Part p(kernels, shape, segment);
    p.pack_transposed(k, kv_head, b.k_transposed);
    p.pack_rows(p.rows_of(v, kv_head, 0, segment.rows), b.v_rows);
    for (Index head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      float* largest = softmax.largest.row(head).data() + segment.first;
      float* inverse = softmax.inverse.row(head).data() + segment.first;
      for (Index first = 0; first < segment.rows; first += query_tile(kernels, shape.type)) {
        const Part::Tile t = p.tile(first);
        const FloatRows probabilities = typed_rows(b.p, shape.type, t.rows, t.padded);
        p.scores(t, p.rows_of(q, head, first, t.rows), b.k_transposed, b.s);
        kernels.attention_probabilities({b.s.data(), t.rows, t.padded}, shape.scale, t.visible, probabilities,
                                        largest + first, inverse + first);
        const FloatRows sums = float_rows(b.out.data(), t.rows, shape.head_dim);
        p.over_keys(t, probabilities, b.v_rows, sums);
        kernels.scale_rows(sums, inverse + first, p.rows_of(out, head, first, t.rows));
      }
    }
  };
  context.pool.run(static_cast<Index>(segments.size()) * shape.kv_heads, attend);
}

void causal_attention_backward(const Context& context, const CausalAttention& shape,
                               std::span<const AttentionSegment> segments, const ConstFloatRows& q,
                               const ConstFloatRows& k, const ConstFloatRows& v, const ConstFloatRows& out,
                               const ConstFloatRows& dout, const SoftmaxRows& softmax, MatrixView<float> dq,
                               MatrixView<float> dk, MatrixView<float> dv, std::span<std::byte> scratch) {
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index group = shape.heads / shape.kv_heads, D = shape.head_dim;
  const std::size_t piece = scratch.size() / static_cast<std::size_t>(context.pool.threads()) / 64 * 64;
  const FloatRows dq_rows = rows_of_matrix(dq), dk_rows = rows_of_matrix(dk), dv_rows = rows_of_matrix(dv);
  const auto attend = [&](Index part, int worker) {
    const AttentionSegment& segment = segments[static_cast<std::size_t>(part / shape.kv_heads)];
    const Index kv_head = part % shape.kv_heads;
    Scratch bump(scratch.subspan(piece * static_cast<std::size_t>(worker), piece));
    const Buffers b = Buffers::take(bump, shape, segment.rows, true);
    const Part p(kernels, shape, segment);
    p.pack_transposed(k, kv_head, b.k_transposed);
    p.pack_transposed(v, kv_head, b.v_transposed);
    p.pack_rows(p.rows_of(k, kv_head, 0, segment.rows), b.k_rows);
    for (Index t = segment.first; t < segment.first + segment.rows; ++t) {
      std::fill_n(dk.row(t).data() + kv_head * D, D, 0.0f);
      std::fill_n(dv.row(t).data() + kv_head * D, D, 0.0f);
    }
    for (Index head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* largest = softmax.largest.row(head).data() + segment.first;
      const float* inverse = softmax.inverse.row(head).data() + segment.first;
      for (Index first = 0; first < segment.rows; first += query_tile(kernels, shape.type)) {
        const Part::Tile t = p.tile(first);
        const ConstFloatRows q_tile = p.rows_of(q, head, first, t.rows);
        const ConstFloatRows dout_tile = p.rows_of(dout, head, first, t.rows);
        const FloatRows probabilities = typed_rows(b.p, shape.type, t.rows, t.padded);
        const FloatRows ds = typed_rows(b.ds, shape.type, t.rows, t.padded);
        p.scores(t, q_tile, b.k_transposed, b.s);
        p.scores(t, dout_tile, b.v_transposed, b.dp);
        kernels.row_dots(dout_tile, p.rows_of(out, head, first, t.rows), b.delta.data());
        kernels.attention_gradients({b.s.data(), t.rows, t.padded}, {b.dp.data(), t.rows, t.padded}, shape.scale,
                                    t.visible, largest + first, inverse + first, b.delta.data(), probabilities, ds);
        p.over_keys(t, ds, b.k_rows, p.rows_of(dq_rows, head, first, t.rows));
        p.pack_rows(dout_tile, b.dout_tile);
        p.add_over_queries(t, probabilities, b.dout_tile, b.left, p.rows_of(dv_rows, kv_head, t.column, t.cols));
        p.pack_rows(q_tile, b.q_tile);
        p.add_over_queries(t, ds, b.q_tile, b.left, p.rows_of(dk_rows, kv_head, t.column, t.cols));
      }
    }
  };
  context.pool.run(static_cast<Index>(segments.size()) * shape.kv_heads, attend);
}

}  // namespace jericho
