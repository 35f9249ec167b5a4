// Latent attention of one layer: see blocks.h. A token's keys and values of all heads are products of one compressed
// row c, which is what the cache keeps, beside the rotated part of the key that all heads share. The products are moved
// to the other side (arXiv:2405.04434, section 2.1.2 and appendix C): with k = K c and v = V c of a head
//   q.k = (K^T q).c           sum_t p_t v_t = V (sum_t p_t c_t)
// so that attention is that of one KV head of key width r + dr and value width r, whatever the heads.
// Always, also for long prompts: expanding keys and values for them would be another sum, and a token's bits would
// depend on the size of the chunk it came in (docs/decisions/007-absorbed-always.md).
#include <algorithm>
#include <array>

#include "models/blocks.h"
#include "ops/rows.h"

namespace jericho {
namespace {

struct Buffers {
  MatrixView<float> q_a{nullptr, 0, 0};  // [T, q_lora_rank], where queries are compressed too
  LinearBuffers q_a_input;
  MatrixView<float> q;         // [T, H (dn + dr)]
  MatrixView<float> kv;        // [T, r + dr] c and the shared part of the key: a row of the cache
  MatrixView<float> attended;  // [T, H dv]
  LinearBuffers attended_input;
  std::span<LinearTask> tasks;  // a head each
  // Of a wave of tokens; `by_head` rows are ordered by head, then token:
  MatrixView<float> nope_by_head;  // [H W, dn] the part of a query that is not rotated
  LinearBuffers nope_input;
  MatrixView<float> absorbed;        // [W, H (r + dr)] queries of the latent cache
  MatrixView<float> latent;          // [W, H r] sums over it
  MatrixView<float> latent_by_head;  // [H W, r]
  LinearBuffers latent_input;

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& c, ActivationForms forms, Index rows) {
    const LatentConfig& m = c.latent;
    const Index H = c.num_attention_heads, W = std::min(rows, kLatentWave);
    Buffers b;
    if (m.q_lora_rank > 0) {
      b.q_a = take_matrix(scratch, rows, m.q_lora_rank);
      b.q_a_input = LinearBuffers::take(scratch, forms, rows, m.q_lora_rank);
    }
    b.q = take_matrix(scratch, rows, H * (m.nope_dim + m.rope_dim));
    b.kv = take_matrix(scratch, rows, m.kv_lora_rank + m.rope_dim);
    b.attended = take_matrix(scratch, rows, H * m.value_dim);
    b.attended_input = LinearBuffers::take(scratch, forms, rows, H * m.value_dim);
    b.tasks = scratch.template take<LinearTask>(H);
    b.nope_by_head = take_matrix(scratch, H * W, m.nope_dim);
    b.nope_input = LinearBuffers::take(scratch, forms, H * W, m.nope_dim);
    b.absorbed = take_matrix(scratch, W, H * (m.kv_lora_rank + m.rope_dim));
    b.latent = take_matrix(scratch, W, H * m.kv_lora_rank);
    b.latent_by_head = take_matrix(scratch, H * W, m.kv_lora_rank);
    b.latent_input = LinearBuffers::take(scratch, forms, H * W, m.kv_lora_rank);
    return b;
  }

 private:
  Buffers() : q(nullptr, 0, 0), kv(q), attended(q), nope_by_head(q), absorbed(q), latent(q), latent_by_head(q) {}
};

// q and the rows of the cache, which prepare_row() normalises and rotates.
void project_tokens(const Pass& pass, const LatentWeights& w, const LinearInput& x, const Buffers& b) {
  const ModelConfig& c = pass.config;
  const LatentConfig& m = c.latent;
  const bool compressed_q = m.q_lora_rank > 0;
  const LinearTask q = compressed_q ? projection(w.q_a, 1, b.q_a) : projection(w.q, 1, b.q);
  linear_each(pass.context, std::array{q, projection(w.kv_a, 1, b.kv)}, x);
  if (compressed_q) {
    rms_norm(pass.context, b.q_a, w.q_a_norm, c.rms_norm_eps, b.q_a);
    project(pass, w.q_b, LinearInput(pass.context, b.q_a, pass.forms, b.q_a_input), 1, b.q);
  }
}

void prepare_row(const Pass& pass, const LatentWeights& w, const Buffers& b, Index t) {
  const LatentConfig& m = pass.config.latent;
  const MatrixView<float> compressed = b.kv.rows(t, 1).cols(0, m.kv_lora_rank);
  pass.context.kernels.rms_norm(compressed, w.kv_a_norm, pass.config.rms_norm_eps, compressed);
  const std::span<const float> cos = pass.angles.cos.row(t), sin = pass.angles.sin.row(t);
  rope(b.q.row(t), m.nope_dim + m.rope_dim, cos, sin, m.nope_dim);
  rope(b.kv.row(t), m.kv_lora_rank + m.rope_dim, cos, sin, m.kv_lora_rank);
}

// y of each head = its weight times its rows of x; head h is columns [h stride, h stride + rows of the weight) of y.
void project_heads(const Pass& pass, const std::vector<PackedMatrix>& weights, const LinearInput& x,
                   std::span<LinearTask> tasks, MatrixView<float> y) {
  const Index n = y.extent(0), width = y.extent(1), stride = width / static_cast<Index>(weights.size());
  for (std::size_t h = 0; h < weights.size(); ++h) {
    const auto head = static_cast<Index>(h);
    tasks[h] = {&weights[h], head * n, {y.data() + head * stride, n, weights[h].rows, width}};
  }
  linear_each(pass.context, tasks, x);
}

// Tokens [first, first + n) of the batch, at most a wave.
void attend_wave(const Pass& pass, const Step& step, const LatentWeights& w, const Buffers& b, Index first, Index n,
                 Scratch& scratch) {
  const ModelConfig& c = pass.config;
  const LatentConfig& m = c.latent;
  const Index H = c.num_attention_heads, head = m.nope_dim + m.rope_dim, key = m.kv_lora_rank + m.rope_dim;
  const MatrixView<float> q = b.q.rows(first, n), nope = b.nope_by_head.rows(0, H * n);
  const MatrixView<float> absorbed = b.absorbed.rows(0, n), latent = b.latent.rows(0, n);
  gather_heads(pass.context, q, H, 0, nope);
  project_heads(pass, w.k_b, LinearInput(pass.context, nope, pass.forms, b.nope_input), b.tasks, absorbed);
  for (Index t = 0; t < n; ++t) {
    for (Index h = 0; h < H; ++h)
      std::copy_n(&q(t, h * head + m.nope_dim), m.rope_dim, &absorbed(t, h * key + m.kv_lora_rank));
  }
  const AttentionShape shape = {H, pass.layer(step).window, {c.attention_scale, c.attention_softcap}};
  tiered_attention(pass.context, pass.kv, step.kv, shape,
                   pass.batch.rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)), absorbed,
                   pass.batch.pages, pass.batch.cold, latent, &scratch);
  const MatrixView<float> by_head = b.latent_by_head.rows(0, H * n);
  gather_heads(pass.context, latent, H, 0, by_head);
  project_heads(pass, w.v_b, LinearInput(pass.context, by_head, pass.forms, b.latent_input), b.tasks,
                b.attended.rows(first, n));
}

}  // namespace

void latent_attention_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms,
                                    Index rows) {
  static_cast<void>(Buffers::take(scratch, config, forms, rows));
}

void latent_attention_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x,
                            Scratch& scratch, MatrixView<float> out) {
  const Index T = pass.rows();
  const Buffers b = Buffers::take(scratch, pass.config, pass.forms, T);
  project_tokens(pass, w.latent, x, b);
  const auto prepare = [&](Index t) { prepare_row(pass, w.latent, b, t); };
  store_kv(pass.context, pass.kv, step.kv, pass.batch.rows, b.kv, b.kv, pass.batch.pages, prepare);
  for (Index first = 0; first < T; first += kLatentWave)
    attend_wave(pass, step, w.latent, b, first, std::min(kLatentWave, T - first), scratch);
  const LinearInput attended(pass.context, b.attended, pass.forms, b.attended_input);
  project(pass, w.o, attended, 1, out);
}

}  // namespace jericho
