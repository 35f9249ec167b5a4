// Attention of one layer: see blocks.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/blocks.h"
#include "ops/hadamard.h"
#include "ops/rows.h"

namespace jericho {
namespace {

struct Buffers {
  MatrixView<float> q, k, v, attended;
  LinearBuffers attended_input;

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& c, ActivationForms forms, Index rows) {
    return {.q = take_matrix(scratch, rows, c.query_size()),
            .k = take_matrix(scratch, rows, c.kv_size()),
            .v = take_matrix(scratch, rows, c.kv_size()),
            .attended = take_matrix(scratch, rows, c.query_size()),
            .attended_input = LinearBuffers::take(scratch, forms, rows, c.query_size())};
  }
};

// What becomes of row t's queries, keys and values before anybody attends: norms head by head or of all heads at once,
// a limit, rotation, as far as the family has them. `sink_q` that are not the queries themselves get the same queries
// as they meet sinks: turned by angles of their own.
void prepare_row(const Pass& pass, const LayerConfig& layer, const DecoderLayer& w, const Buffers& b,
                 MatrixView<float> sink_q, Index t) {
  const ModelConfig& c = pass.config;
  const std::span<float> q = b.q.row(t), k = b.k.row(t);
  if (c.qk_norm != QkNorm::kNone) {
    const auto normalize = [&](std::span<float> x, std::span<const float> weight) {
      const Index cols = c.qk_norm == QkNorm::kHead ? c.head_dim : std::ssize(x);
      const MatrixView<float> heads(x.data(), std::ssize(x) / cols, cols);
      pass.context.kernels.rms_norm(heads, weight, c.rms_norm_eps, heads);
    };
    normalize(q, w.q_norm);
    normalize(k, w.k_norm);
  }
  if (c.clip_qkv) {
    for (const std::span<float> x : {q, k, b.v.row(t)}) clamp(*c.clip_qkv, x);
  }
  const bool for_sinks = sink_q.data() != b.q.data();
  if (for_sinks) std::copy(q.begin(), q.end(), sink_q.row(t).begin());
  if (layer.rope != LayerRope::kNone) {
    const Angles& angles = layer.rope == LayerRope::kLocal ? pass.local_angles : pass.angles;
    for (const std::span<float> x : {q, k}) rope(x, c.head_dim, angles.cos.row(t), angles.sin.row(t));
    if (for_sinks) rope(sink_q.row(t), c.head_dim, pass.sink_angles.cos.row(t), pass.sink_angles.sin.row(t));
  }
  if (!pass.kv.rotated) return;
  for (const std::span<float> x : {q, k, b.v.row(t)}) hadamard(x, c.head_dim);
  if (for_sinks) hadamard(sink_q.row(t), c.head_dim);
}

}  // namespace

void project(const Pass& pass, const LinearWeight& w, const LinearInput& x, float factor, MatrixView<float> y) {
  const LinearTask task = projection(w, factor, y);
  linear_each(pass.context, {&task, 1}, x);
}

AttentionLogits attention_logits(const ModelConfig& c) {
  const float plain = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  return {c.attention_scale != 0 ? c.attention_scale : plain, c.attention_softcap};
}

void attention_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  static_cast<void>(Buffers::take(scratch, config, forms, rows));
}

void attention_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                     MatrixView<float> out) {
  const ModelConfig& c = pass.config;
  const LayerConfig& layer = pass.layer(step);
  const Buffers b = Buffers::take(scratch, c, pass.forms, pass.rows());
  linear_each(pass.context,
              std::array{projection(w.q, c.multipliers.q, b.q), projection(w.k, c.multipliers.k, b.k),
                         projection(w.v, c.multipliers.v, b.v)},
              x);
  adapt(pass, step,
        std::array{AdaptedProduct{&LayerAdapter::q, &w.q, c.multipliers.q, b.q},
                   AdaptedProduct{&LayerAdapter::k, &w.k, c.multipliers.k, b.k},
                   AdaptedProduct{&LayerAdapter::v, &w.v, c.multipliers.v, b.v}},
        x);
  KvSelection* selection = pass.batch.selection;
  if (selection != nullptr && !selection->selects(step.kv)) selection = nullptr;
  MatrixView<float> sink_q = b.q;
  if (selection != nullptr && selection->select().method == KvMethod::kStreaming)
    sink_q = selection->sink_queries(pass.rows());
  const auto prepare = [&](Index t) { prepare_row(pass, layer, w, b, sink_q, t); };
  store_kv(pass.context, pass.kv, step.kv, pass.batch.rows, b.k, b.v, pass.batch.pages, prepare);
  if (pass.batch.votes != nullptr)
    pass.batch.votes->note_queries(pass.context, step.kv, pass.batch.rows, b.q, pass.batch.pages);
  const AttentionShape shape = {c.num_attention_heads, layer.window, attention_logits(c)};
  if (selection != nullptr) {
    selection->note_keys(pass.context, step.kv, pass.batch.rows, pass.batch.pages);
    selected_attention(pass.context, pass.kv, step.kv, shape, pass.batch.rows, b.q, sink_q, pass.batch.pages,
                       pass.batch.cold, *selection, b.attended);
  } else {
    tiered_attention(pass.context, pass.kv, step.kv, shape, pass.batch.rows, b.q, pass.batch.pages, pass.batch.cold,
                     b.attended, &scratch);
  }
  if (pass.kv.rotated) hadamard(pass.context, b.attended, c.head_dim);
  if (c.sub_norms) rms_norm(pass.context, b.attended, w.attention_sub_norm, c.rms_norm_eps, b.attended);
  const LinearInput attended(pass.context, b.attended, pass.forms, b.attended_input);
  project(pass, w.o, attended, c.multipliers.attention_out, out);
  adapt(pass, step, std::array{AdaptedProduct{&LayerAdapter::o, &w.o, c.multipliers.attention_out, out}}, attended);
}

}  // namespace jericho
