// The experts of one layer: see blocks.h. Tokens are routed first; then each expert that any of them chose meets all of
// its tokens at once, so that its weights are read once however many sequences the batch holds. Experts are computed in
// ascending order, a wave of them at a time: as many as the wave's rows hold, and as there are slots for where experts
// come from a cache (expert_store.h). Each token's sum therefore grows by ascending expert, and depends on neither its
// company nor the waves (docs/numerics.md 5).
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "models/blocks.h"
#include "models/weights.h"
#include "ops/moe.h"
#include "ops/rows.h"

namespace jericho {
namespace {

// A wave holds at least the rows of one expert, which are the batch's at most; of small batches it holds all experts,
// so that the threads have enough to share.
constexpr Index kFullWave = 64;

Index wave_rows(const MoeConfig& m, Index rows) {
  return std::max(rows, std::min(rows * m.experts_per_token, kFullWave));
}

template <class T, class S>
MatrixView<T> take_table(S& scratch, Index rows, Index cols) {
  return {scratch.template take<T>(rows * cols).data(), rows, cols};
}

struct Buffers {
  MatrixView<float> logits, group_scores;  // [T, experts], [T, groups]
  Routing routing;                         // [T, experts_per_token]
  MatrixView<std::int32_t> places;         // [T, experts_per_token] row of `tokens` that each choice became
  std::span<std::int32_t> tokens;          // [T experts_per_token] by ascending expert, then by token
  std::span<std::int32_t> begins;          // [experts + 1] where each expert's rows begin
  std::span<ExpertUse> uses;               // [experts] the chosen ones, ascending
  Routing next;                            // [T, experts_per_token] that the layer after this one may choose
  std::span<GatedTask> gated_tasks;        // gate and up of a wave's experts
  std::span<LinearTask> tasks;             // their down
  MatrixView<float> sum;                   // [T, hidden]
  MatrixView<float> shared_scale;          // [T, 1]
  // Of a wave:
  MatrixView<float> x;  // [W, hidden] the experts' input, then their output
  LinearBuffers input;
  MatrixView<float> gate, up;  // [W, size of an expert]
  LinearBuffers gated_input;

  template <class S>
  static Buffers take(S& scratch, const ModelConfig& c, ActivationForms forms, Index rows) {
    const MoeConfig& m = c.moe;
    const Index chosen = m.experts_per_token, wave = wave_rows(m, rows);
    Buffers b;
    b.logits = take_matrix(scratch, rows, m.experts);
    b.group_scores = take_matrix(scratch, rows, m.groups);
    b.routing = {take_table<std::int32_t>(scratch, rows, chosen), take_matrix(scratch, rows, chosen)};
    b.places = take_table<std::int32_t>(scratch, rows, chosen);
    b.tokens = scratch.template take<std::int32_t>(rows * chosen);
    b.begins = scratch.template take<std::int32_t>(m.experts + 1);
    b.uses = scratch.template take<ExpertUse>(m.experts);
    b.next = {take_table<std::int32_t>(scratch, rows, chosen), take_matrix(scratch, rows, chosen)};
    b.gated_tasks = scratch.template take<GatedTask>(std::min(m.experts, wave));
    b.tasks = scratch.template take<LinearTask>(std::min(m.experts, wave));
    b.sum = take_matrix(scratch, rows, c.hidden_size);
    if (m.shared_gate) b.shared_scale = take_matrix(scratch, rows, 1);
    b.x = take_matrix(scratch, wave, c.hidden_size);
    b.input = LinearBuffers::take(scratch, forms, wave, c.hidden_size);
    b.gate = take_matrix(scratch, wave, m.intermediate_size);
    b.up = take_matrix(scratch, wave, m.intermediate_size);
    b.gated_input = LinearBuffers::take(scratch, forms, wave, m.intermediate_size);
    return b;
  }
};

// Gives every choice a row: experts ascending, the tokens of each ascending.
void place_choices(const Buffers& b) {
  std::fill(b.begins.begin(), b.begins.end(), 0);
  const MatrixView<std::int32_t> chosen = b.routing.experts;
  for (Index t = 0; t < chosen.extent(0); ++t) {
    for (const std::int32_t e : chosen.row(t)) ++b.begins[static_cast<std::size_t>(e) + 1];
  }
  for (std::size_t e = 1; e < b.begins.size(); ++e) b.begins[e] += b.begins[e - 1];
  for (Index t = 0; t < chosen.extent(0); ++t) {
    for (Index j = 0; j < chosen.extent(1); ++j) {  // begins[e] runs ahead to the end of its rows
      const std::int32_t row = b.begins[static_cast<std::size_t>(chosen(t, j))]++;
      b.places(t, j) = row;
      b.tokens[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(t);
    }
  }
  std::copy_backward(b.begins.begin(), b.begins.end() - 1, b.begins.end());
  b.begins.front() = 0;
}

// Experts [first, last) on their rows, added to the sums of the rows' tokens.
void run_wave(const Pass& pass, const DecoderLayer& w, const Buffers& b, MatrixView<const float> x, Index first,
              Index last) {
  const auto begin_of = [&](Index e) { return Index{b.begins[static_cast<std::size_t>(e)]}; };
  const Index begin = begin_of(first), rows = begin_of(last) - begin;
  const MatrixView<float> input_rows = b.x.rows(0, rows), gate = b.gate.rows(0, rows), up = b.up.rows(0, rows);
  std::size_t tasks = 0;
  for (Index e = first; e < last; ++e) {
    const Index own = begin_of(e + 1) - begin_of(e), row = begin_of(e) - begin;
    if (own == 0) continue;
    const ExpertWeights& expert = w.experts[static_cast<std::size_t>(e)];
    b.gated_tasks[tasks] = {{&expert.gate, row, gate.rows(row, own)}, {&expert.up, row, up.rows(row, own)}};
    b.tasks[tasks++] = {&expert.down, row, input_rows.rows(row, own)};
  }
  const auto copy_row = [&](Index r) {
    const auto from = x.row(b.tokens[static_cast<std::size_t>(begin + r)]);
    std::copy(from.begin(), from.end(), input_rows.row(r).begin());
  };
  const LinearInput input(pass.context, input_rows, pass.forms, b.input, copy_row);
  linear_gated(pass.context, pass.config.activation, b.gated_tasks.first(tasks), input);
  linear_each(pass.context, b.tasks.first(tasks), LinearInput(pass.context, gate, pass.forms, b.gated_input));
  add_expert_rows(pass.context, b.routing.weights, b.places, begin, input_rows, b.sum);
}

// Largest weight first; few at a time.
void sort_by_weight(std::span<std::int32_t> experts, std::span<float> weights) {
  for (std::size_t i = 1; i < experts.size(); ++i) {
    for (std::size_t j = i; j > 0 && weights[j] > weights[j - 1]; --j) {
      std::swap(weights[j], weights[j - 1]);
      std::swap(experts[j], experts[j - 1]);
    }
  }
}

// Begins to read what the next layer is likely to choose: what its router says of this layer's input, for the residual
// stream changes slowly (Eliseev & Mazur 2023, arXiv:2312.17238, section 3.2).
void expect_next_experts(const Pass& pass, const Step& step, const Buffers& b, const LinearInput& x, Index slots) {
  const ModelConfig& c = pass.config;
  const Index next = step.layer + 1;
  if (next == c.num_hidden_layers || c.layers[static_cast<std::size_t>(next)].feed_forward != FeedForward::kExperts)
    return;
  if (2 * pass.rows() * c.moe.experts_per_token > slots) return;  // they would be in the way of one another
  if (!pass.weights.wants_guesses(next)) return;
  const DecoderLayer& w = pass.weights.resident(next);
  linear(pass.context, w.router, x, {}, b.logits);
  route(pass.context, c.moe, b.logits, w.router_bias, b.group_scores, b.next);
  for (Index t = 0; t < pass.rows(); ++t) sort_by_weight(b.next.experts.row(t), b.next.weights.row(t));
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(c.moe.experts_per_token); ++rank) {
    for (Index t = 0; t < pass.rows(); ++t) pass.weights.expect_experts(next, b.next.experts.row(t).subspan(rank, 1));
  }
}

}  // namespace

void experts_block_scratch(ScratchSize& scratch, const ModelConfig& config, ActivationForms forms, Index rows) {
  static_cast<void>(Buffers::take(scratch, config, forms, rows));
  if (config.moe.shared_intermediate_size > 0)
    feed_forward_scratch(scratch, config.moe.shared_intermediate_size, forms, rows);
}

void experts_block(const Pass& pass, const Step& step, const DecoderLayer& w, const LinearInput& x, Scratch& scratch,
                   MatrixView<float> out) {
  const ModelConfig& c = pass.config;
  const MoeConfig& m = c.moe;
  const Index T = pass.rows();
  const Buffers b = Buffers::take(scratch, c, pass.forms, T);
  linear(pass.context, w.router, x, {}, b.logits);
  route(pass.context, m, b.logits, w.router_bias, b.group_scores, b.routing);
  place_choices(b);

  for (Index t = 0; t < T; ++t) std::fill(b.sum.row(t).begin(), b.sum.row(t).end(), 0.0f);
  // The router's type makes sure that the input is there in fp32.
  const Activations& values = x.as(ActivationForm::kF32);
  const MatrixView<const float> input(values.f32, T, c.hidden_size, values.cols);
  std::size_t chosen = 0;
  for (Index e = 0; e < m.experts; ++e) {
    const Index tokens = b.begins[static_cast<std::size_t>(e) + 1] - b.begins[static_cast<std::size_t>(e)];
    if (tokens > 0) b.uses[chosen++] = {e, tokens};
  }
  std::span<const ExpertUse> left = b.uses.first(chosen);
  const std::optional<Index> slots = pass.weights.expert_slots();
  // Where not all that are chosen have slots, half of them are read while the other half is computed.
  const Index together = !slots || std::ssize(left) <= *slots ? std::ssize(left) : std::max<Index>(1, *slots / 2);
  const auto wave_of = [&](std::span<const ExpertUse> uses) {
    std::size_t count = 0;
    for (Index rows = 0; count < std::min(uses.size(), static_cast<std::size_t>(together)); ++count) {
      rows += uses[count].tokens;
      if (rows > b.x.extent(0)) break;
    }
    return uses.first(count);
  };
  if (slots) pass.weights.choose_experts(step.layer, left);
  while (!left.empty()) {
    const std::span<const ExpertUse> now = wave_of(left);
    left = left.subspan(now.size());
    if (slots) {
      pass.weights.acquire_experts(step.layer, now, wave_of(left));
      if (left.empty()) expect_next_experts(pass, step, b, x, *slots);
    }
    run_wave(pass, w, b, input, now.front().expert, now.back().expert + 1);
  }

  if (m.shared_intermediate_size == 0) {
    copy(pass.context, b.sum, out);
    return;
  }
  if (m.shared_gate) {
    linear(pass.context, w.shared_router, x, {}, b.shared_scale);
    sigmoid(pass.context, b.shared_scale);
  }
  feed_forward_block(pass, step, w, x, scratch, out);  // writes `out`, where x may lie, last
  if (m.shared_gate) scale_rows(pass.context, b.shared_scale, out);
  add(pass.context, b.sum, out);
}

}  // namespace jericho
