// Forward and backward of a decoder: see training_pass.h. Gradients are those of the formulas in the comments;
// residuals are fp32, what products read has the compute type.
#include "models/training_pass.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "kernels/training_kernels.h"
#include "models/blocks.h"
#include "ops/low_rank_training.h"
#include "ops/training_rows.h"

namespace jericho {
namespace {

template <class S>
FloatRows take_rows(S& scratch, DType type, Index rows, Index cols) {
  const Index bytes = type == DType::kF32 ? 4 : 2;
  return {scratch.template take<std::byte>(rows * cols * bytes).data(), type, rows, cols, cols};
}

void set_zero_rows(const FloatRows& x) {  // rows that follow one another
  std::fill_n(x.data, static_cast<std::size_t>(x.rows * x.stride * x.element_bytes()), std::byte{0});
}

MatrixView<float> floats_of(const FloatRows& x) { return {reinterpret_cast<float*>(x.data), x.rows, x.cols, x.stride}; }

std::span<float> values_of(MatrixView<float> x) {
  return {x.data(), static_cast<std::size_t>(x.extent(0) * x.extent(1))};
}

CausalAttention attention_of(const ModelConfig& c, const TrainingPassOptions& o, Index window) {
  return {.type = o.compute,
          .heads = c.num_attention_heads,
          .kv_heads = c.num_key_value_heads,
          .head_dim = c.head_dim,
          .window = window,
          .scale = c.attention_scale != 0 ? c.attention_scale : 1.0f / std::sqrt(static_cast<float>(c.head_dim))};
}

// Cells that the widest product packs.
Index pack_cells(const TrainingLayout& layout, const TrainingPassOptions& o, Index tokens) {
  Index cells = 0;
  for (const TrainedTensor& tensor : layout.tensors()) {
    if (tensor.kind != TrainedKind::kProjection) continue;
    cells = std::max({cells, packed_weight_cells(o.compute, tensor.rows, tensor.cols),
                      weight_gradient_cells(o.compute, tokens, tensor.rows, tensor.cols)});
  }
  const TrainedTensor& head = layout.tensor(layout.head());
  return std::max(cells, weight_gradient_cells(o.compute, std::min(tokens, o.logit_tokens), head.rows, head.cols));
}

}  // namespace

// What a block keeps for its backward pass.
struct TrainingPass::Block {
  FloatRows q, k, v;       // rotated
  FloatRows raw_q, raw_k;  // before their norms, where there are such
  FloatRows attended;
  SoftmaxRows softmax;
  MatrixView<float> middle;  // the residual stream between the two halves
  FloatRows gate, up;

  template <class S>
  static Block take(S& scratch, const ModelConfig& c, const TrainingPassOptions& o, Index T) {
    Block b;
    b.q = take_rows(scratch, o.compute, T, c.query_size());
    b.k = take_rows(scratch, o.compute, T, c.kv_size());
    b.v = take_rows(scratch, o.compute, T, c.kv_size());
    if (c.qk_norm != QkNorm::kNone) {
      b.raw_q = take_rows(scratch, DType::kF32, T, c.query_size());
      b.raw_k = take_rows(scratch, DType::kF32, T, c.kv_size());
    }
    b.attended = take_rows(scratch, o.compute, T, c.query_size());
    b.softmax = {take_matrix(scratch, c.num_attention_heads, T), take_matrix(scratch, c.num_attention_heads, T)};
    b.middle = take_matrix(scratch, T, c.hidden_size);
    b.gate = take_rows(scratch, o.compute, T, c.intermediate_size);
    b.up = take_rows(scratch, o.compute, T, c.intermediate_size);
    return b;
  }
};

// Kept through the whole pass. Inputs that are not share the places of one run of blocks from one that is to the next.
struct TrainingPass::Saved {
  std::vector<MatrixView<float>> x;  // the input of each block, and the output of the last
  std::vector<Block> blocks;         // of the last ones; the first of them is that of all before it too

  template <class S>
  static Saved take(S& scratch, const ModelConfig& c, const TrainingPassOptions& o, std::size_t steps, Index T) {
    Saved saved;
    const auto every = static_cast<std::size_t>(o.recompute.every);
    std::vector<MatrixView<float>> shared;
    for (std::size_t i = 1; i < std::min(every, steps); ++i) shared.push_back(take_matrix(scratch, T, c.hidden_size));
    for (std::size_t i = 0; i <= steps; ++i) {
      const bool keeps = i % every == 0 || i == steps;
      saved.x.push_back(keeps ? take_matrix(scratch, T, c.hidden_size) : shared[i % every - 1]);
    }
    const std::size_t blocks = std::min(steps, static_cast<std::size_t>(o.recompute.kept));
    for (std::size_t i = 0; i < blocks; ++i) saved.blocks.push_back(Block::take(scratch, c, o, T));
    return saved;
  }
  [[nodiscard]] std::size_t first_kept() const { return x.size() - 1 - blocks.size(); }
  [[nodiscard]] const Block& block(std::size_t step) const {
    return blocks[step > first_kept() ? step - first_kept() : 0];
  }
};

// Of the block that runs. The two halves of a block share their place.
struct TrainingPass::Live {
  MatrixView<float> cos, sin;  // of the batch's rows
  FloatRows normed, dx;        // [T, hidden], the latter a gradient in the compute type
  MatrixView<float> d;         // [T, hidden] gradient of the residual stream
  MatrixView<float> dnormed;   // [T, hidden]
  std::span<float> norm_row, partial, tiles;
  std::span<std::uint32_t> cells;
  LowRankRoom adapters;
  // feed-forward
  MatrixView<float> dh;
  FloatRows h, dgate, dup;
  // attention
  MatrixView<float> q, k, v;  // fp32, forward and as gradients
  FloatRows dattended, dq, dk, dv;
  std::span<std::byte> attention;

  template <class S>
  static Live take(S& scratch, const ModelConfig& c, const TrainingLayout& layout, const TrainingPassOptions& o,
                   Index T, Index leaves) {
    Live b;
    const Index C = c.hidden_size, F = c.intermediate_size;
    b.cos = take_matrix(scratch, T, c.rope.dims / 2);
    b.sin = take_matrix(scratch, T, c.rope.dims / 2);
    b.normed = take_rows(scratch, o.compute, T, C);
    b.dx = take_rows(scratch, o.compute, T, C);
    b.d = take_matrix(scratch, T, C);
    // Gradients of heads' norms lie in it too, where there are such.
    b.dnormed = {scratch.template take<float>(T * std::max(C, c.query_size())).data(), T, C};
    b.norm_row = scratch.template take<float>(o.threads * C);
    b.partial = scratch.template take<float>(leaves * std::max(C, c.query_size()));
    b.tiles = scratch.template take<float>(o.decodes ? o.threads * kTileValues : 0);
    b.cells = scratch.template take<std::uint32_t>(pack_cells(layout, o, T));
    if (layout.has_adapters()) {
      const Index widest = std::max({C, F, c.query_size(), c.kv_size()});
      b.adapters = LowRankRoom::take(scratch, o.compute, T, leaves, widest, layout.adapter_rank());
    }
    {
      const ScratchScope scope(scratch);
      b.dh = take_matrix(scratch, T, F);
      b.h = take_rows(scratch, o.compute, T, F);
      b.dgate = take_rows(scratch, o.compute, T, F);
      b.dup = take_rows(scratch, o.compute, T, F);
    }
    b.q = take_matrix(scratch, T, c.query_size());
    b.k = take_matrix(scratch, T, c.kv_size());
    b.v = take_matrix(scratch, T, c.kv_size());
    b.dattended = take_rows(scratch, o.compute, T, c.query_size());
    b.dq = take_rows(scratch, o.compute, T, c.query_size());
    b.dk = take_rows(scratch, o.compute, T, c.kv_size());
    b.dv = take_rows(scratch, o.compute, T, c.kv_size());
    const Bytes thread = causal_attention_backward_scratch(attention_of(c, o, 0), o.sequence_tokens);
    b.attention = scratch.template take<std::byte>(thread.count * o.threads);
    return b;
  }
};

struct TrainingPass::Head {
  MatrixView<float> z;  // logits of a chunk of tokens
  FloatRows dz;
  std::span<std::uint32_t> output, input;  // the head packed for both its uses; one place where there is one chunk

  template <class S>
  static Head take(S& scratch, const ModelConfig& c, const TrainingPassOptions& o, Index rows) {
    Head head;
    head.z = take_matrix(scratch, rows, c.vocab_size);
    head.dz =
        o.compute == DType::kF32 ? as_rows(head.z) : take_rows(scratch, o.compute, rows, round_up(c.vocab_size, 2));
    head.dz.cols = c.vocab_size;
    const Index cells = packed_weight_cells(o.compute, c.vocab_size, c.hidden_size);
    head.output = scratch.template take<std::uint32_t>(cells);
    const bool one_chunk = o.sequences * o.sequence_tokens <= o.logit_tokens;
    head.input = one_chunk ? head.output : scratch.template take<std::uint32_t>(cells);
    return head;
  }
};

struct TrainingPass::Run {
  const Context& context;
  const MicroBatch& batch;
  std::span<const StoredRows> weights;
  GradientSink* sink;
  Index rows = 0;
  std::vector<Index> blocks{}, leaves{};   // of tokens
  std::vector<AttentionSegment> unused{};  // rows of no segment: what they attend to is zero
  Saved saved{};
  Live live{};
  Head head{};

  [[nodiscard]] const StoredRows& weight(Index tensor) const { return weights[static_cast<std::size_t>(tensor)]; }
  [[nodiscard]] std::span<const float> vector(Index tensor) const { return weight(tensor).floats().row(0); }
  [[nodiscard]] PackedRight pack(DType type, Index tensor, WeightSide side, std::span<std::uint32_t> cells) const {
    return pack_weight(context, type, weight(tensor), side, cells, live.tiles);
  }
  [[nodiscard]] std::optional<TrainedLowRank> adapter(const TrainedAdapter* of) const {
    if (of == nullptr) return std::nullopt;
    return TrainedLowRank{.a = weight(of->a).floats(),
                          .b = weight(of->b).floats(),
                          .scale = of->scale,
                          .gain = of->gain < 0 ? std::span<const float>() : vector(of->gain),
                          .magnitude = of->magnitude < 0 ? std::span<const float>() : vector(of->magnitude)};
  }
  [[nodiscard]] LowRankRoom room(const TrainedLowRank& w) const {
    return live.adapters.of(rows, w.b.extent(0), w.rank());
  }
  // add(place) where the tensor is trained. Of several uses the backward pass comes to use 0 last.
  template <class Add>
  void gradient(Index tensor, Index use, const Add& add) const {
    const std::optional<MatrixView<float>> place = sink->place(tensor, use);
    if (!place) return;
    add(*place);
    if (use == 0) sink->complete(tensor);
  }
  void matrix_gradient(DType type, const FloatRows& dy, const FloatRows& x, Index tensor, Index use) const {
    gradient(tensor, use,
             [&](MatrixView<float> dw) { add_weight_gradient(context, type, dy, x, blocks, live.cells, dw); });
  }
  void norm_gradient(MatrixView<const float> x, float eps, MatrixView<const float> dy, MatrixView<float> dx,
                     std::span<const Index> norm_leaves, Index tensor, Index use) const {
    const std::optional<MatrixView<float>> place = sink->place(tensor, use);
    rms_norm_backward(context, x, vector(tensor), eps, dy, dx, norm_leaves, live.partial,
                      place ? values_of(*place) : std::span<float>());
    if (place && use == 0) sink->complete(tensor);
  }
  void bias_gradient(const FloatRows& dy, Index tensor, Index use) const {
    gradient(tensor, use,
             [&](MatrixView<float> db) { add_column_sums(context, dy, leaves, live.partial, values_of(db)); });
  }
};

TrainingPass::TrainingPass(const ModelConfig& config, const TrainingLayout& layout, const TrainingPassOptions& options)
    : config_(config), layout_(layout), options_(options), steps_(steps_of(config)) {
  JERICHO_CHECK(options.sequence_tokens % 2 == 0, "sequences of {} tokens", options.sequence_tokens);
  JERICHO_CHECK(options.recompute.kept >= 1 && (options.recompute.every == 1 || options.recompute.kept == 1),
                "{} blocks kept, the input of every {}", options.recompute.kept, options.recompute.every);
  const auto half = static_cast<std::size_t>(config.rope.dims / 2);
  const auto positions = static_cast<std::size_t>(options.sequence_tokens);
  cos_.resize(positions * half);
  sin_.resize(positions * half);
  const RopeTable rope(config.rope);
  for (std::size_t p = 0; p < positions; ++p) {
    rope.angles(static_cast<Index>(p), std::span(cos_).subspan(p * half, half),
                std::span(sin_).subspan(p * half, half));
  }
}

std::vector<TrainingPass::Step> TrainingPass::steps_of(const ModelConfig& config) {
  std::vector<Step> steps;
  for (Index layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (Index use = 0; use < config.layer_passes; ++use) steps.push_back({layer, use});
  }
  return steps;
}

std::vector<GradientUse> TrainingPass::gradient_order(const ModelConfig& config, const TrainingLayout& layout) {
  std::vector<GradientUse> order = {{layout.head(), layout.head_use()}, {layout.norm(), 0}};
  const std::vector<Step> steps = steps_of(config);
  for (std::size_t step = steps.size(); step-- > 0;) {
    const TrainedLayer& w = layout.layers()[static_cast<std::size_t>(steps[step].layer)];
    for (const Index tensor : {w.down, w.gate, w.up, w.feed_forward_norm, w.o, w.q_norm, w.q_bias, w.k_norm, w.k_bias,
                               w.v_bias, w.q, w.k, w.v, w.attention_norm}) {
      if (tensor >= 0) order.push_back({tensor, steps[step].use});
    }
  }
  order.push_back({layout.embedding(), 0});
  std::erase_if(order, [&](const GradientUse& use) { return !layout.tensor(use.tensor).is_trained(); });
  return order;
}

Index TrainingPass::head_rows(const TrainingPassOptions& options) {
  return std::min(options.sequences * options.sequence_tokens, options.logit_tokens);
}

TrainingMemory TrainingPass::memory(const ModelConfig& config, const TrainingLayout& layout,
                                    const TrainingPassOptions& options) {
  const Index T = options.sequences * options.sequence_tokens;
  const std::size_t steps = steps_of(config).size();
  const auto leaves = static_cast<Index>(token_blocks(options.sequences, options.sequence_tokens, kLeafTokens).size());
  ScratchSize saved, live, logits;
  Saved::take(saved, config, options, steps, T);
  Live::take(live, config, layout, options, T, leaves);
  Head::take(logits, config, options, head_rows(options));
  return {saved.peak(), live.peak(), logits.peak()};
}

void TrainingPass::prepare(Run& run, const MicroBatch& batch, const Memory& memory) const {
  run.rows = batch.sequences * batch.sequence_tokens;
  JERICHO_CHECK(batch.sequences <= options_.sequences && batch.sequence_tokens == options_.sequence_tokens,
                "{} sequences of {} tokens", batch.sequences, batch.sequence_tokens);
  run.blocks = token_blocks(batch.sequences, batch.sequence_tokens);
  run.leaves = token_blocks(batch.sequences, batch.sequence_tokens, kLeafTokens);
  Scratch saved(memory.saved), live(memory.live), logits(memory.logits);
  run.saved = Saved::take(saved, config_, options_, steps_.size(), run.rows);
  run.live = Live::take(live, config_, layout_, options_, run.rows, static_cast<Index>(run.leaves.size()));
  run.head = Head::take(logits, config_, options_, std::min(run.rows, head_rows(options_)));
  const auto half = static_cast<std::size_t>(config_.rope.dims / 2);
  Index next = 0;
  const auto leave_out = [&](Index until) {
    if (until > next) run.unused.push_back({next, until - next});
  };
  for (const AttentionSegment& segment : batch.segments) {
    leave_out(segment.first);
    next = segment.first + segment.rows;
  }
  leave_out(run.rows);
  for (const AttentionSegment& rows : run.unused) {  // position 0
    std::fill_n(run.live.cos.row(rows.first).data(), static_cast<std::size_t>(rows.rows) * half, 1.0f);
    std::fill_n(run.live.sin.row(rows.first).data(), static_cast<std::size_t>(rows.rows) * half, 0.0f);
  }
  for (const AttentionSegment& segment : batch.segments) {
    std::copy_n(cos_.data(), static_cast<std::size_t>(segment.rows) * half, run.live.cos.row(segment.first).data());
    std::copy_n(sin_.data(), static_cast<std::size_t>(segment.rows) * half, run.live.sin.row(segment.first).data());
  }
}

void TrainingPass::forward(Run& run) const {
  embedding_rows(run.context, run.weight(layout_.embedding()), run.batch.tokens, run.saved.x[0]);
  for (std::size_t step = 0; step < steps_.size(); ++step) {
    block_forward(run, step, run.saved.block(step), true);
  }
}

void TrainingPass::backward(Run& run) const {
  const auto every = static_cast<std::size_t>(options_.recompute.every);
  for (std::size_t end = steps_.size(); end > 0;) {
    const std::size_t begin = (end - 1) / every * every;
    if (end < steps_.size()) {  // the inputs between; those of the last run are still there
      for (std::size_t step = begin; step + 1 < end; ++step) block_forward(run, step, run.saved.block(step), true);
    }
    for (std::size_t step = end; step-- > begin;) {
      if (step < run.saved.first_kept()) block_forward(run, step, run.saved.block(step), false);
      block_backward(run, step, run.saved.block(step));
    }
    end = begin;
  }
}

// y (+)= x W^T, or what an adapter makes of it.
void TrainingPass::product(const Run& run, const FloatRows& x, Index weight, DenseStore store,
                           const FloatRows& y) const {
  const Context& context = run.context;
  const DType type = options_.compute;
  const auto base = [&](DenseStore how, const FloatRows& to) {
    dense(context, type, x, run.pack(type, weight, WeightSide::kOutput, run.live.cells), how, to);
  };
  const std::optional<TrainedLowRank> adapter = run.adapter(layout_.adapter(weight));
  if (!adapter) return base(store, y);
  const LowRankRoom room = run.room(*adapter);
  if (y.dtype == DType::kF32 && adapter->gain.empty()) {
    base(store, y);
    add_low_rank(context, type, *adapter, x, room, run.live.cells, floats_of(y));
    return;
  }
  base(DenseStore::kSet, as_rows(room.wide));
  add_low_rank(context, type, *adapter, x, room, run.live.cells, room.wide);
  if (!adapter->gain.empty()) gain_columns(context, adapter->gain, as_rows(room.wide));
  if (store == DenseStore::kAdd) {
    add(context, values_of(room.wide), values_of(floats_of(y)));
  } else {
    convert_rows(context, as_rows(room.wide), y);
  }
}

// dx (+)= dy W, or what an adapter makes of it; dy takes the gains of its columns first, for adapter_gradients() too.
void TrainingPass::input_gradient(const Run& run, const FloatRows& dy, Index weight, DenseStore store,
                                  const FloatRows& dx) const {
  const Context& context = run.context;
  const DType type = options_.compute;
  const auto base = [&](DenseStore how, const FloatRows& to) {
    dense(context, type, dy, run.pack(type, weight, WeightSide::kInput, run.live.cells), how, to);
  };
  const std::optional<TrainedLowRank> adapter = run.adapter(layout_.adapter(weight));
  if (!adapter) return base(store, dx);
  if (!adapter->gain.empty()) gain_columns(context, adapter->gain, dy);
  const LowRankRoom room = run.room(*adapter);
  if (dx.dtype == DType::kF32) {
    base(store, dx);
    add_low_rank_input_gradient(context, type, *adapter, dy, room, run.live.cells, floats_of(dx));
    return;
  }
  const MatrixView<float> wide(run.live.adapters.wide.data(), dx.rows, dx.cols);
  base(DenseStore::kSet, as_rows(wide));
  add_low_rank_input_gradient(context, type, *adapter, dy, room, run.live.cells, wide);
  convert_rows(context, as_rows(wide), dx);
}

// Of the weight itself, or of its adapter; dy as input_gradient() left it.
void TrainingPass::matrix_gradient(const Run& run, const FloatRows& dy, const FloatRows& x, Index weight,
                                   Index use) const {
  run.matrix_gradient(options_.compute, dy, x, weight, use);
  const TrainedAdapter* of = layout_.adapter(weight);
  if (of == nullptr) return;
  const Context& context = run.context;
  const DType type = options_.compute;
  const TrainedLowRank adapter = *run.adapter(of);
  const LowRankRoom room = run.room(adapter);
  if (of->magnitude >= 0) {
    run.gradient(of->magnitude, use, [&](MatrixView<float> place) {
      dense(context, type, x, run.pack(type, weight, WeightSide::kOutput, run.live.cells), DenseStore::kSet,
            as_rows(room.wide));
      add_low_rank(context, type, adapter, x, room, run.live.cells, room.wide);
      add_magnitude_gradient(context, dy, room.wide, adapter.magnitude, run.leaves, room, values_of(place));
    });
  }
  const std::optional<MatrixView<float>> da = run.sink->place(of->a, use), db = run.sink->place(of->b, use);
  add_low_rank_gradients(context, type, adapter, dy, x, run.blocks, room, run.live.cells, da, db);
  if (use != 0) return;
  if (da) run.sink->complete(of->a);
  if (db) run.sink->complete(of->b);
}

// middle = x + attention(norm(x)) Wo^T;  x' = middle + (act(n Wg^T) * (n Wu^T)) Wd^T, n = norm(middle)
void TrainingPass::block_forward(Run& run, std::size_t step, const Block& b, bool with_output) const {
  const Context& context = run.context;
  const ModelConfig& c = config_;
  const TrainedLayer& layer = layout_.layers()[static_cast<std::size_t>(steps_[step].layer)];
  const Live& live = run.live;
  const MatrixView<float> x = run.saved.x[step];
  const auto vector = [&](Index index) { return run.vector(index); };
  const auto product = [&](const FloatRows& input, Index weight, DenseStore store, const FloatRows& y) {
    this->product(run, input, weight, store, y);
  };
  rms_norm_rows(context, x, vector(layer.attention_norm), c.rms_norm_eps, live.normed, live.norm_row);
  // A head of queries or keys: bias, norm, rotation.
  const auto rotated = [&](Index weight, Index bias, Index norm, MatrixView<float> y, const FloatRows& raw,
                           const FloatRows& out) {
    product(live.normed, weight, DenseStore::kSet, as_rows(y));
    if (bias >= 0) add_bias(context, vector(bias), y);
    if (norm >= 0) {
      convert_rows(context, as_rows(y), raw);
      const MatrixView<float> heads(y.data(), y.extent(0) * y.extent(1) / c.head_dim, c.head_dim);
      rms_norm_rows(context, heads, vector(norm), c.rms_norm_eps, as_rows(heads), {});
    }
    rope_rows(context, y, c.head_dim, live.cos, live.sin, Turn::kForward, out);
  };
  rotated(layer.q, layer.q_bias, layer.q_norm, live.q, b.raw_q, b.q);
  rotated(layer.k, layer.k_bias, layer.k_norm, live.k, b.raw_k, b.k);
  if (layer.v_bias >= 0) {
    product(live.normed, layer.v, DenseStore::kSet, as_rows(live.v));
    add_bias(context, vector(layer.v_bias), live.v);
    convert_rows(context, as_rows(live.v), b.v);
  } else {
    product(live.normed, layer.v, DenseStore::kSet, b.v);
  }
  const Index window = c.layers[static_cast<std::size_t>(steps_[step].layer)].window;
  causal_attention(context, attention_of(c, options_, window), run.batch.segments, b.q, b.k, b.v, b.attended, b.softmax,
                   live.attention);
  for (const AttentionSegment& rows : run.unused) set_zero_rows(b.attended.part(rows.first, rows.rows));
  convert_rows(context, as_rows(x), as_rows(b.middle));
  product(b.attended, layer.o, DenseStore::kAdd, as_rows(b.middle));
  rms_norm_rows(context, b.middle, vector(layer.feed_forward_norm), c.rms_norm_eps, live.normed, live.norm_row);
  product(live.normed, layer.gate, DenseStore::kSet, b.gate);
  product(live.normed, layer.up, DenseStore::kSet, b.up);
  if (!with_output) return;
  glu_rows(context, c.activation, b.gate, b.up, live.h);
  const MatrixView<float> out = run.saved.x[step + 1];
  convert_rows(context, as_rows(b.middle), as_rows(out));
  product(live.h, layer.down, DenseStore::kAdd, as_rows(out));
}

// With d the gradient of x': dh = d Wd, dWd += d^T h; through the gate; dn = dg Wg + du Wu; d += norm'(dn). A weight's
// gradient is the last that is made with it: the sink may change the weight.
void TrainingPass::block_backward(Run& run, std::size_t step, const Block& b) const {
  const Context& context = run.context;
  const Step& s = steps_[step];
  const TrainedLayer& layer = layout_.layers()[static_cast<std::size_t>(s.layer)];
  const Live& live = run.live;
  convert_rows(context, as_rows(live.d), live.dx);
  input_gradient(run, live.dx, layer.down, DenseStore::kSet, as_rows(live.dh));
  glu_backward(context, config_.activation, b.gate, b.up, live.dh, live.dgate, live.dup, live.h);
  matrix_gradient(run, live.dx, live.h, layer.down, s.use);
  rms_norm_rows(context, b.middle, run.vector(layer.feed_forward_norm), config_.rms_norm_eps, live.normed,
                live.norm_row);
  input_gradient(run, live.dgate, layer.gate, DenseStore::kSet, as_rows(live.dnormed));
  matrix_gradient(run, live.dgate, live.normed, layer.gate, s.use);
  input_gradient(run, live.dup, layer.up, DenseStore::kAdd, as_rows(live.dnormed));
  matrix_gradient(run, live.dup, live.normed, layer.up, s.use);
  run.norm_gradient(b.middle, config_.rms_norm_eps, live.dnormed, live.d, run.leaves, layer.feed_forward_norm, s.use);
  attention_backward(run, step, b);
}

// The other half: da = d Wo, dWo += d^T a; attention; rotation back, norms and biases; dn = dq Wq + dk Wk + dv Wv.
void TrainingPass::attention_backward(Run& run, std::size_t step, const Block& b) const {
  const Context& context = run.context;
  const ModelConfig& c = config_;
  const Step& s = steps_[step];
  const TrainedLayer& layer = layout_.layers()[static_cast<std::size_t>(s.layer)];
  const Live& live = run.live;
  convert_rows(context, as_rows(live.d), live.dx);
  input_gradient(run, live.dx, layer.o, DenseStore::kSet, live.dattended);
  matrix_gradient(run, live.dx, b.attended, layer.o, s.use);
  for (const AttentionSegment& rows : run.unused) {
    for (const MatrixView<float> x : {live.q, live.k, live.v}) set_zero_rows(as_rows(x.rows(rows.first, rows.rows)));
  }
  const Index window = c.layers[static_cast<std::size_t>(s.layer)].window;
  causal_attention_backward(context, attention_of(c, options_, window), run.batch.segments, b.q, b.k, b.v, b.attended,
                            live.dattended, b.softmax, live.q, live.k, live.v, live.attention);
  const auto unrotated = [&](MatrixView<float> dy, Index norm, const FloatRows& raw, Index bias, const FloatRows& out) {
    if (norm < 0) {
      rope_rows(context, dy, c.head_dim, live.cos, live.sin, Turn::kBack, out);
    } else {
      rope_rows(context, dy, c.head_dim, live.cos, live.sin, Turn::kBack, as_rows(dy));
      const Index heads = dy.extent(1) / c.head_dim, rows = dy.extent(0) * heads;
      const MatrixView<float> dnorm(dy.data(), rows, c.head_dim);
      const MatrixView<const float> x(reinterpret_cast<const float*>(raw.data), rows, c.head_dim);
      // The gradient of a norm's input is gained: it begins at zero.
      const MatrixView<float> dx(live.dnormed.data(), rows, c.head_dim);
      std::vector<Index> leaves = run.leaves;
      for (Index& leaf : leaves) leaf *= heads;
      set_zero(context, values_of(dx));
      run.norm_gradient(x, c.rms_norm_eps, dnorm, dx, leaves, norm, s.use);
      convert_rows(context, as_rows(MatrixView<float>(dx.data(), dy.extent(0), dy.extent(1))), out);
    }
    if (bias >= 0) run.bias_gradient(out, bias, s.use);
  };
  unrotated(live.q, layer.q_norm, b.raw_q, layer.q_bias, live.dq);
  unrotated(live.k, layer.k_norm, b.raw_k, layer.k_bias, live.dk);
  convert_rows(context, as_rows(live.v), live.dv);
  if (layer.v_bias >= 0) run.bias_gradient(live.dv, layer.v_bias, s.use);
  rms_norm_rows(context, run.saved.x[step], run.vector(layer.attention_norm), c.rms_norm_eps, live.normed,
                live.norm_row);
  input_gradient(run, live.dq, layer.q, DenseStore::kSet, as_rows(live.dnormed));
  matrix_gradient(run, live.dq, live.normed, layer.q, s.use);
  input_gradient(run, live.dk, layer.k, DenseStore::kAdd, as_rows(live.dnormed));
  matrix_gradient(run, live.dk, live.normed, layer.k, s.use);
  input_gradient(run, live.dv, layer.v, DenseStore::kAdd, as_rows(live.dnormed));
  matrix_gradient(run, live.dv, live.normed, layer.v, s.use);
  run.norm_gradient(run.saved.x[step], c.rms_norm_eps, live.dnormed, live.d, run.leaves, layer.attention_norm, s.use);
}

// Logits chunk by chunk, each turned into its loss and gradient at once: no more than a chunk of them exists.
void TrainingPass::head_pass(Run& run, std::span<double> losses) const {
  const Context& context = run.context;
  const DType type = options_.compute;
  const Live& live = run.live;
  const bool backward = run.sink != nullptr;
  const Index head = layout_.head(), use = layout_.head_use();
  const MatrixView<float> x = run.saved.x.back();
  rms_norm_rows(context, x, run.vector(layout_.norm()), config_.rms_norm_eps, live.normed, live.norm_row);
  const PackedRight output = run.pack(type, head, WeightSide::kOutput, run.head.output);
  PackedRight input;
  std::optional<MatrixView<float>> dhead;
  if (backward) dhead = run.sink->place(head, use);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  if (backward && type == DType::kBF16 && run.head.dz.stride != run.head.dz.cols) {  // pairs end in a zero
    for (Index t = 0; t < run.head.z.extent(0); ++t) {
      reinterpret_cast<BF16*>(run.head.dz.row(t))[run.head.dz.cols] = BF16{};
    }
  }
  // Chunks end where token blocks do.
  Index first = 0;
  std::vector<Index> ends;
  for (std::size_t block = 0; block < run.blocks.size(); ++block) {
    ends.push_back(run.blocks[block] - first);
    const Index next = block + 1 < run.blocks.size() ? run.blocks[block + 1] : run.rows + options_.logit_tokens + 1;
    if (next - first <= run.head.z.extent(0)) continue;
    const Index rows = run.blocks[block] - first;
    const FloatRows normed = live.normed.part(first, rows);
    dense(context, type, normed, output, DenseStore::kSet, as_rows(run.head.z.rows(0, rows)));
    const auto loss = [&](Index begin, Index end, int) {
      const FloatRows dz = backward ? run.head.dz.part(begin, end - begin) : FloatRows{};
      kernels.cross_entropy(run.head.z.rows(begin, end - begin), run.batch.targets.data() + first + begin,
                            run.batch.factor, losses.data() + first + begin, dz);
    };
    parallel_for(context.pool, rows, 8, loss);
    if (backward) {
      const FloatRows dz = run.head.dz.part(0, rows);
      if (input.cells.empty()) input = run.pack(type, head, WeightSide::kInput, run.head.input);
      dense(context, type, dz, input, DenseStore::kSet, as_rows(live.dnormed.rows(first, rows)));
      if (dhead) add_weight_gradient(context, type, dz, normed, ends, live.cells, *dhead);
    }
    first += rows;
    ends.clear();
  }
  if (!backward) return;
  if (dhead && use == 0) run.sink->complete(head);
  set_zero(context, values_of(live.d));
  run.norm_gradient(x, config_.rms_norm_eps, live.dnormed, live.d, run.leaves, layout_.norm(), 0);
}

void TrainingPass::run(const Context& context, const MicroBatch& batch, std::span<const StoredRows> weights,
                       GradientSink* sink, const Memory& memory, std::span<double> losses) const {
  Run run{.context = context, .batch = batch, .weights = weights, .sink = sink};
  prepare(run, batch, memory);
  forward(run);
  head_pass(run, losses);
  if (sink == nullptr) return;
  backward(run);
  run.gradient(layout_.embedding(), 0,
               [&](MatrixView<float> dtable) { embedding_backward(context, batch.tokens, run.live.d, dtable); });
}

void TrainingPass::logits(const Context& context, const MicroBatch& batch, std::span<const StoredRows> weights,
                          const Memory& memory, Index first, MatrixView<float> out) const {
  Run run{.context = context, .batch = batch, .weights = weights, .sink = nullptr};
  prepare(run, batch, memory);
  forward(run);
  rms_norm_rows(context, run.saved.x.back(), run.vector(layout_.norm()), config_.rms_norm_eps, run.live.normed,
                run.live.norm_row);
  const PackedRight head = run.pack(options_.compute, layout_.head(), WeightSide::kOutput, run.head.output);
  dense(context, options_.compute, run.live.normed.part(first, out.extent(0)), head, DenseStore::kSet, as_rows(out));
}

}  // namespace jericho
