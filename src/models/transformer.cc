// The forward pass: see transformer.h.
#include "models/transformer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/check.h"
#include "ops/linear.h"
#include "ops/rows.h"

namespace jericho {
namespace {

bool has(const ModelConfig& config, FeedForward kind) {
  return std::any_of(config.layers.begin(), config.layers.end(),
                     [&](const LayerConfig& layer) { return layer.feed_forward == kind; });
}

// Each layer as often as it runs, every run with keys, values and state of its own.
std::vector<Step> steps_of(const ModelConfig& config) {
  std::vector<Step> steps;
  Index kv = 0, state = 0;
  for (Index layer = 0; layer < config.num_hidden_layers; ++layer) {
    const LayerConfig& kind = config.layers[static_cast<std::size_t>(layer)];
    for (Index pass = 0; pass < config.layer_passes; ++pass) {
      steps.push_back({layer, kv, state});
      if (kind.attention) ++kv;
      if (kind.state_space != StateSpace::kNone) ++state;
    }
  }
  return steps;
}

bool has(const ModelConfig& config, StateSpace kind) {
  return std::any_of(config.layers.begin(), config.layers.end(),
                     [&](const LayerConfig& layer) { return layer.state_space == kind; });
}

// What any of the model's blocks takes: they follow one another and share their place.
void take_blocks(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  const auto block = [&](bool used, auto take) {
    if (!used) return;
    const ScratchScope scope(scratch);
    take(scratch, config, forms, rows);
  };
  const bool latent = config.latent.kv_lora_rank > 0;
  block(config.attention_layers() > 0, latent ? latent_attention_block_scratch : attention_block_scratch);
  block(has(config, StateSpace::kMamba), mamba_block_scratch);
  block(has(config, StateSpace::kMamba2), mamba2_block_scratch);
  block(has(config, FeedForward::kDense), feed_forward_block_scratch);
  block(has(config, FeedForward::kExperts), experts_block_scratch);
}

Index largest_rank(std::span<const AdapterRun> runs) {
  Index rank = 0;
  for (const AdapterRun& run : runs) {
    for (const AdapterWeights* adapter : run.adapters) rank = std::max(rank, adapter->largest_rank);
  }
  return rank;
}

// Runs `add(tasks)` for the first adapters of all runs, then for the second ones: a row's terms are added in order.
// task_of(run, adapter, product) is one of them, or has no weight.
template <class TaskOf>
void add_in_order(const Pass& pass, const LinearInput& x, Index products, TaskOf task_of) {
  std::array<LowRankTask, 32> tasks;
  std::size_t most = 0;
  for (const AdapterRun& run : pass.adapters.runs) most = std::max(most, run.adapters.size());
  for (std::size_t k = 0; k < most; ++k) {
    std::size_t count = 0;
    const auto add = [&] {
      if (count > 0) add_low_rank_each(pass.context, std::span(tasks).first(count), x);
      count = 0;
    };
    for (const AdapterRun& run : pass.adapters.runs) {
      for (Index i = 0; i < products && k < run.adapters.size(); ++i) {
        LowRankTask task = task_of(run, *run.adapters[k], i);
        if (task.w == nullptr || !task.w->any() || task.rows == 0) continue;
        const Index rank = pass.adapters.room.extent(1) / kAdaptedTogether;
        task.u = pass.adapters.room.rows(task.first, task.rows).cols(i * rank, task.w->rank());
        tasks[count++] = task;
        if (count == tasks.size()) add();
      }
    }
    add();
  }
}

// Of the rows that have logits, which moved up.
void adapt_head(const Pass& pass, const LinearInput& x, MatrixView<float> logits) {
  const std::span<const Index> rows = pass.batch.logit_rows;
  add_in_order(pass, x, 1, [&](const AdapterRun& run, const AdapterWeights& adapter, Index) {
    const auto first = std::lower_bound(rows.begin(), rows.end(), run.first);
    const auto last = std::lower_bound(first, rows.end(), run.first + run.rows);
    return LowRankTask{.w = &adapter.head, .first = first - rows.begin(), .rows = last - first, .y = logits};
  });
}

}  // namespace

void adapt(const Pass& pass, const Step& step, std::span<const AdaptedProduct> products, const LinearInput& x) {
  add_in_order(pass, x, std::ssize(products), [&](const AdapterRun& run, const AdapterWeights& adapter, Index i) {
    const AdaptedProduct& product = products[static_cast<std::size_t>(i)];
    return LowRankTask{.w = &(adapter.layers[static_cast<std::size_t>(step.layer)].*product.part),
                       .first = run.first,
                       .rows = run.rows,
                       .y = product.y,
                       .bias = product.w->bias,
                       .factor = product.factor};
  });
}

// What lives through a layer; the blocks take the rest.
struct Transformer::Buffers {
  MatrixView<float> x;       // [T, hidden] the residual stream
  MatrixView<float> normed;  // [T, hidden] a norm's output
  MatrixView<float> branch;  // [T, hidden] a block's output before it is added; `normed` where one block reads it
  Angles angles, local_angles;
  LinearBuffers input;
  std::span<SequenceRows> sequences;
  MatrixView<float> adapted;  // [T, kAdaptedTogether * the largest rank]

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& c, ActivationForms forms, Index rows, Index adapter_rank) {
    Buffers b{.x = take_matrix(scratch, rows, c.hidden_size),
              .normed = take_matrix(scratch, rows, c.hidden_size),
              .branch = {nullptr, 0, 0},
              .angles = {},
              .local_angles = {},
              .input = {},
              .sequences = {},
              .adapted = take_matrix(scratch, rows, kAdaptedTogether * adapter_rank)};
    const bool side_by_side = std::any_of(c.layers.begin(), c.layers.end(), [](const LayerConfig& layer) {
      return layer.attention && layer.state_space != StateSpace::kNone;
    });
    b.branch = side_by_side ? take_matrix(scratch, rows, c.hidden_size) : b.normed;
    const auto angles = [&](const RopeConfig& rope) {
      return Angles{take_matrix(scratch, rows, rope.dims / 2), take_matrix(scratch, rows, rope.dims / 2)};
    };
    b.angles = angles(c.rope);
    if (c.local_rope) b.local_angles = angles(*c.local_rope);
    b.input = LinearBuffers::take(scratch, forms, rows, c.hidden_size);
    if (c.state_space_layers() > 0) b.sequences = scratch.template take<SequenceRows>(rows);
    return b;
  }
};

// A block's output that lies in Buffers::branch and is not in the residual stream yet: the norm that comes next adds
// each row on its way, so that a layer goes over its rows once between two products.
struct Transformer::Branch {
  bool written = false;
  std::span<const float> post_norm{};
};

KvLayout kv_layout(const ModelConfig& config, KvTypes type) {
  const LatentConfig& m = config.latent;
  if (m.kv_lora_rank > 0) return {type, config.attention_layers(), 1, m.kv_lora_rank + m.rope_dim, m.kv_lora_rank};
  return {type, config.attention_layers(), config.num_key_value_heads, config.head_dim};
}

SelectionShape selection_shape(const ModelConfig& config, const KvSelect& select, const KvLayout& kv) {
  SelectionShape shape{.select = select,
                       .kv = kv,
                       .heads = config.num_attention_heads,
                       .logits = attention_logits(config),
                       .angles = config.rope.dims / 2};
  for (const Step& step : steps_of(config)) {
    const LayerConfig& layer = config.layers[static_cast<std::size_t>(step.layer)];
    if (!layer.attention) continue;
    const bool dense = layer.window > 0 || layer.rope == LayerRope::kLocal ||
                       (select.method == KvMethod::kQuest && step.kv < kDenseLayers);
    shape.layers.push_back(select.method != KvMethod::kAll && !dense);
  }
  return shape;
}

StateLayout state_layout(const ModelConfig& config, KvType type) {
  const StateSpaceConfig& s = config.state_space;
  if (config.state_space_layers() == 0) return {.type = type};
  const Index shared = has(config, StateSpace::kMamba2) ? 2 * s.groups * s.state_size : 0;  // B and C
  return {.type = type,
          .layers = config.state_space_layers(),
          .channels = s.inner_size + shared,
          .history = s.conv_kernel - 1,
          .values = s.inner_size * s.state_size};
}

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights, ActivationForms forms)
    : config_(config),
      weights_(weights),
      forms_(forms),
      rope_(config.rope, weights.views().rope_divisors),
      steps_(steps_of(config)) {
  if (config.local_rope) local_rope_.emplace(*config.local_rope);
  if (config.rope.scaling == RopeScaling::kLongRope) {
    RopeConfig rope = config.rope;
    rope.long_context = true;
    long_rope_.emplace(rope, weights.views().rope_long_divisors);
  }
}

Bytes Transformer::scratch_bytes(const ModelConfig& config, ActivationForms forms, BatchLimits limits) {
  ScratchSize size;
  Buffers::take(size, config, forms, limits.rows, limits.adapter_rank);
  take_blocks(size, config, forms, limits.rows);
  return size.peak();
}

void Transformer::forward(const Context& context, const KvLayout& layout, const Batch& batch,
                          std::span<std::byte> scratch, MatrixView<float> logits) const {
  const auto T = static_cast<Index>(batch.tokens.size());
  JERICHO_CHECK(static_cast<Index>(batch.rows.size()) == T, "{} rows for {} tokens", batch.rows.size(), T);
  Scratch bump(scratch);
  const Buffers b = Buffers::take(bump, config_, forms_, T, largest_rank(batch.adapters));
  const auto R = static_cast<Index>(batch.logit_rows.size());
  WeightPass weights(context, weights_, T, R > 0);
  Pass pass = {context, config_, forms_, layout, batch, weights, b.angles, b.local_angles};
  pass.state = state_layout(config_, layout.type.keys);
  pass.adapters = {batch.adapters, b.adapted};
  if (pass.state.layers > 0) pass.sequences = sequences_of(batch.rows, b.sequences);
  weights.embedding(batch.tokens, b.x);
  const float embedding_scale = config_.embedding_scale * config_.multipliers.embedding;
  if (embedding_scale != 1) scale(context, embedding_scale, b.x);
  const RopeTable& rope = batch.long_context && long_rope_ ? *long_rope_ : rope_;
  for (Index t = 0; t < T; ++t) {
    const BatchRow& row = batch.rows[static_cast<std::size_t>(t)];
    const Index position = row.position + row.skipped;
    rope.angles(position, b.angles.cos.row(t), b.angles.sin.row(t));
    if (local_rope_) local_rope_->angles(position, b.local_angles.cos.row(t), b.local_angles.sin.row(t));
  }
  if (batch.selection != nullptr && batch.selection->select().method == KvMethod::kStreaming) {
    const std::span<float> angles = batch.selection->sink_angles();
    const Index half = config_.rope.dims / 2;
    const KvSelect& select = batch.selection->select();
    const std::span<float> cos = angles.first(static_cast<std::size_t>(half));
    const std::span<float> sin = angles.last(static_cast<std::size_t>(half));
    rope.angles(select.sinks + select.tokens - 1, cos, sin);
    pass.sink_angles = {{cos.data(), T, half, 0}, {sin.data(), T, half, 0}};
  }
  Branch waiting;
  for (const Step& step : steps_) run_layer(pass, weights, step, b, waiting, bump);
  if (R == 0) return weights.end();
  const auto row_of = [&](Index r) { return batch.logit_rows[static_cast<std::size_t>(r)]; };
  const auto gain_row = [&](Index r, int) { gain(pass, b, waiting, row_of(r)); };
  context.pool.run(R, std::ref(gain_row));
  // The rows move up in place: they are ascending, so none is overwritten before it is read.
  for (Index r = 0; r < R; ++r) {
    const auto from = b.x.row(row_of(r));
    std::copy(from.begin(), from.end(), b.x.row(r).begin());
  }
  const MatrixView<float> normed = b.normed.rows(0, R);
  const auto normalize = [&](Index r) {
    context.kernels.rms_norm(b.x.rows(r, 1), weights_.views().norm, config_.rms_norm_eps, normed.rows(r, 1));
  };
  const LinearInput input(context, normed, forms_, b.input, normalize);
  weights.head(
      [&](const PackedMatrix& rows, Index first) { linear(context, rows, input, {}, logits.cols(first, rows.rows)); });
  weights.end();
  adapt_head(pass, input, logits);
  const float logit_scale = config_.logit_scale * config_.multipliers.head;
  if (logit_scale != 1) scale(context, logit_scale, logits);
  if (config_.final_softcap > 0) soft_cap(context, config_.final_softcap, logits);
}

void Transformer::run_layer(const Pass& pass, const WeightPass& weights, const Step& step, const Buffers& b,
                            Branch& waiting, Scratch& scratch) const {
  const DecoderLayer& w = weights.layer(step.layer, LayerPart::kMixer);
  const LayerConfig& layer = pass.layer(step);
  // A row of the residual stream gains its branch, is normalised and takes the forms that weights multiply with.
  const auto prepared = [&](std::span<const float> norm) {
    const Branch branch = std::exchange(waiting, {});
    const auto normalize = [&](Index t) {
      gain(pass, b, branch, t);
      pass.context.kernels.rms_norm(b.x.rows(t, 1), norm, config_.rms_norm_eps, b.normed.rows(t, 1));
    };
    return LinearInput(pass.context, b.normed, forms_, b.input, normalize);
  };
  {
    const LinearInput input = prepared(w.attention_norm);
    if (layer.attention) {
      const ScratchScope scope(scratch);
      const auto block = config_.latent.kv_lora_rank > 0 ? latent_attention_block : attention_block;
      block(pass, step, w, input, scratch, b.branch);
      waiting = {true, w.attention_post_norm};
    }
    if (layer.state_space != StateSpace::kNone) {
      // Beside attention: whose output makes room for this one.
      const Branch branch = std::exchange(waiting, {});
      const auto gain_row = [&](Index t, int) { gain(pass, b, branch, t); };
      if (branch.written) pass.context.pool.run(pass.rows(), std::ref(gain_row));
      const ScratchScope scope(scratch);
      const auto block = layer.state_space == StateSpace::kMamba ? mamba_block : mamba2_block;
      block(pass, step, w, input, scratch, b.branch);
      waiting = {true, {}};
    }
  }
  if (layer.feed_forward == FeedForward::kNone) return;
  weights.layer(step.layer, LayerPart::kFeedForward);
  const LinearInput input = prepared(w.feed_forward_norm);
  const ScratchScope scope(scratch);
  if (layer.feed_forward == FeedForward::kExperts) {
    experts_block(pass, step, w, input, scratch, b.branch);
  } else {
    feed_forward_block(pass, step, w, input, scratch, b.branch);
  }
  waiting = {true, w.feed_forward_post_norm};
}

void Transformer::gain(const Pass& pass, const Buffers& b, const Branch& branch, Index t) const {
  if (!branch.written) return;
  const MatrixView<float> row = b.branch.rows(t, 1);
  if (!branch.post_norm.empty()) pass.context.kernels.rms_norm(row, branch.post_norm, config_.rms_norm_eps, row);
  const float factor = config_.residual_scale;
  float* x = b.x.row(t).data();
  const float* dx = row.data();
  for (Index c = 0; c < row.extent(1); ++c) x[c] += factor == 1 ? dx[c] : dx[c] * factor;
}

}  // namespace jericho
