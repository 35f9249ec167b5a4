// Attention of one layer: see blocks.h.
#include <array>
#include <cmath>

#include "models/blocks.h"
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

// q and k are normalised head by head, or all heads of a token at once.
void normalize_qk(const Pass& pass, const DecoderLayer& w, const Buffers& b) {
  const ModelConfig& c = pass.config;
  const auto rows = [&](MatrixView<float> x) {
    const Index cols = c.qk_norm == QkNorm::kHead ? c.head_dim : x.extent(1);
    return MatrixView<float>(x.data(), x.extent(0) * x.extent(1) / cols, cols);
  };
  rms_norm(pass.context, rows(b.q), w.q_norm, c.rms_norm_eps, rows(b.q));
  rms_norm(pass.context, rows(b.k), w.k_norm, c.rms_norm_eps, rows(b.k));
}

}  // namespace

void project(const Pass& pass, const LinearWeight& w, const LinearInput& x, float factor, MatrixView<float> y) {
  const LinearTask task = projection(w, factor, y);
  linear_each(pass.context, {&task, 1}, x);
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
  if (c.qk_norm != QkNorm::kNone) normalize_qk(pass, w, b);
  if (c.clip_qkv) {
    for (const MatrixView<float> rows : {b.q, b.k, b.v}) clamp(pass.context, *c.clip_qkv, rows);
  }
  if (layer.rope != LayerRope::kNone) {
    const Angles& angles = layer.rope == LayerRope::kLocal ? pass.local_angles : pass.angles;
    rope(pass.context, b.q, c.head_dim, angles.cos, angles.sin);
    rope(pass.context, b.k, c.head_dim, angles.cos, angles.sin);
  }
  store_kv(pass.context, pass.kv, step.kv, pass.batch.rows, b.k, b.v, pass.batch.pages);
  const float logit_scale =
      c.attention_scale != 0 ? c.attention_scale : 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  const AttentionShape shape = {c.num_attention_heads, layer.window, {logit_scale, c.attention_softcap}};
  tiered_attention(pass.context, pass.kv, step.kv, shape, pass.batch.rows, b.q, pass.batch.pages, pass.batch.cold,
                   b.attended);
  if (c.sub_norms) rms_norm(pass.context, b.attended, w.attention_sub_norm, c.rms_norm_eps, b.attended);
  const LinearInput attended(pass.context, b.attended, pass.forms, b.attended_input);
  project(pass, w.o, attended, c.multipliers.attention_out, out);
}

}  // namespace jericho
