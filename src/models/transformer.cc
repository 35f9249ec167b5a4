// The forward pass: see transformer.h.
#include "models/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/linear.h"
#include "ops/rows.h"

namespace jericho {

// The live set of one layer. The wide buffers of attention and of the feed-forward are never alive together and share
// their place.
struct Transformer::Buffers {
  MatrixView<float> x;       // [T, hidden] the residual stream
  MatrixView<float> normed;  // [T, hidden] a norm's output, then a block's output before it is added
  MatrixView<float> cos, sin;
  MatrixView<float> q, k, v, attended;
  MatrixView<float> gate, up;
  LinearBuffers hidden_input, attended_input, gated_input;

  template <class S>
  static MatrixView<float> matrix(S& scratch, Index rows, Index cols) {
    return {scratch.template take<float>(rows * cols).data(), rows, cols};
  }

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& c, ActivationForms forms, Index rows) {
    Buffers b;
    b.x = matrix(scratch, rows, c.hidden_size);
    b.normed = matrix(scratch, rows, c.hidden_size);
    b.cos = matrix(scratch, rows, c.rope.dims / 2);
    b.sin = matrix(scratch, rows, c.rope.dims / 2);
    b.hidden_input = LinearBuffers::take(scratch, forms, rows, c.hidden_size);
    const Bytes shared = scratch.mark();
    b.q = matrix(scratch, rows, c.query_size());
    b.k = matrix(scratch, rows, c.kv_size());
    b.v = matrix(scratch, rows, c.kv_size());
    b.attended = matrix(scratch, rows, c.query_size());
    b.attended_input = LinearBuffers::take(scratch, forms, rows, c.query_size());
    scratch.rewind(shared);
    b.gate = matrix(scratch, rows, c.intermediate_size);
    b.up = matrix(scratch, rows, c.intermediate_size);
    b.gated_input = LinearBuffers::take(scratch, forms, rows, c.intermediate_size);
    return b;
  }
};

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights, ActivationForms forms)
    : config_(config),
      weights_(weights),
      forms_(forms),
      rope_(config.rope, weights.views().rope_divisors),
      attention_scale_(1.0f / std::sqrt(static_cast<float>(config.head_dim))) {}

Bytes Transformer::scratch_bytes(const ModelConfig& config, ActivationForms forms, BatchLimits limits) {
  ScratchSize size;
  Buffers::take(size, config, forms, limits.rows);
  return size.peak();
}

void Transformer::forward(const Context& context, const KvLayout& layout, const Batch& batch,
                          std::span<std::byte> scratch, MatrixView<float> logits) const {
  const auto T = static_cast<Index>(batch.tokens.size());
  JERICHO_CHECK(static_cast<Index>(batch.rows.size()) == T, "{} rows for {} tokens", batch.rows.size(), T);
  Scratch bump(scratch);
  const Buffers b = Buffers::take(bump, config_, forms_, T);
  embedding(context, weights_.views().embedding, batch.tokens, b.x);
  for (Index t = 0; t < T; ++t)
    rope_.angles(batch.rows[static_cast<std::size_t>(t)].position, b.cos.row(t), b.sin.row(t));
  for (Index layer = 0; layer < config_.num_hidden_layers; ++layer) {
    attention_block(context, layout, layer, batch, b);
    mlp_block(context, layer, b);
  }
  const auto R = static_cast<Index>(batch.logit_rows.size());
  if (R == 0) return;
  // The rows move up in place: they are ascending, so none is overwritten before it is read.
  for (Index r = 0; r < R; ++r) {
    const auto from = b.x.row(batch.logit_rows[static_cast<std::size_t>(r)]);
    std::copy(from.begin(), from.end(), b.x.row(r).begin());
  }
  const MatrixView<float> normed = b.normed.rows(0, R);
  rms_norm(context, b.x.rows(0, R), weights_.views().norm, config_.rms_norm_eps, normed);
  const LinearInput input(context, normed, forms_, b.hidden_input);
  linear(context, weights_.views().head, input, {}, logits);
}

void Transformer::attention_block(const Context& context, const KvLayout& layout, Index layer, const Batch& batch,
                                  const Buffers& b) const {
  const DecoderLayer& w = weights_.views().layers[static_cast<std::size_t>(layer)];
  rms_norm(context, b.x, w.input_norm, config_.rms_norm_eps, b.normed);
  const LinearInput input(context, b.normed, forms_, b.hidden_input);
  linear(context, w.q.matrix, input, w.q.bias, b.q);
  linear(context, w.k.matrix, input, w.k.bias, b.k);
  linear(context, w.v.matrix, input, w.v.bias, b.v);
  if (config_.qk_norm) {
    const auto heads = [&](MatrixView<float> x) {  // each head as a row
      return MatrixView<float>(x.data(), x.extent(0) * x.extent(1) / config_.head_dim, config_.head_dim);
    };
    rms_norm(context, heads(b.q), w.q_norm, config_.rms_norm_eps, heads(b.q));
    rms_norm(context, heads(b.k), w.k_norm, config_.rms_norm_eps, heads(b.k));
  }
  rope(context, b.q, config_.head_dim, b.cos, b.sin);
  rope(context, b.k, config_.head_dim, b.cos, b.sin);
  store_kv(context, layout, layer, batch.rows, b.k, b.v, batch.pages);
  const AttentionShape shape = {config_.num_attention_heads, config_.window[static_cast<std::size_t>(layer)],
                                attention_scale_};
  paged_attention(context, layout, layer, shape, batch.rows, b.q, batch.pages, b.attended);
  const LinearInput attended(context, b.attended, forms_, b.attended_input);
  linear(context, w.o.matrix, attended, w.o.bias, b.normed);
  add(context, b.normed, b.x);
}

void Transformer::mlp_block(const Context& context, Index layer, const Buffers& b) const {
  const DecoderLayer& w = weights_.views().layers[static_cast<std::size_t>(layer)];
  rms_norm(context, b.x, w.post_attention_norm, config_.rms_norm_eps, b.normed);
  const LinearInput input(context, b.normed, forms_, b.hidden_input);
  linear(context, w.gate.matrix, input, w.gate.bias, b.gate);
  linear(context, w.up.matrix, input, w.up.bias, b.up);
  swiglu(context, b.gate, b.up, b.gate);
  const LinearInput gated(context, b.gate, forms_, b.gated_input);
  linear(context, w.down.matrix, gated, w.down.bias, b.normed);
  add(context, b.normed, b.x);
}

}  // namespace jericho
