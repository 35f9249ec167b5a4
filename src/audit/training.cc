// Bytes per parameter, method by method: see training.h.
#include "audit/training.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"

namespace jericho {
namespace {

struct Matrix {
  double rows = 0, cols = 0;
  [[nodiscard]] double elements() const { return rows * cols; }
  [[nodiscard]] double small() const { return std::min(rows, cols); }
  [[nodiscard]] double large() const { return std::max(rows, cols); }
};

// Is it a matrix inside a layer, of which low-rank methods keep less?
bool is_linear(const WeightPlacement& p) {
  const std::string& name = p.spec.name(ModelFormat::kGguf);
  return p.spec.keep == Keep::kPacked && name != "token_embd.weight" && name != "output.weight";
}

Bytes rounded(double bytes) { return {static_cast<std::int64_t>(std::llround(bytes))}; }

constexpr double kAdam8Bit = 2 + 2 * 4.0 / 256;

// State of one matrix that is trained whole.
double optimizer_bytes(TrainingMethod method, const Matrix& w, bool linear, double rank) {
  const bool low_rank = linear && rank < w.small();
  switch (method) {
    case TrainingMethod::kAdamWFp32:
    case TrainingMethod::kAdamWMixed: break;
    case TrainingMethod::kAdamWBf16: return 4 * w.elements();
    case TrainingMethod::kAdamW8Bit: return kAdam8Bit * w.elements();
    case TrainingMethod::kMomentumFp32: return 4 * w.elements();
    case TrainingMethod::kMomentumBf16: return 2 * w.elements();
    case TrainingMethod::kAdafactor: return 4 * (w.rows > 1 ? w.rows + w.cols : w.cols);
    case TrainingMethod::kGaLore:
      if (low_rank) return 4 * (w.small() * rank + 2 * w.large() * rank);
      break;
    case TrainingMethod::kApollo:
      if (low_rank) return 4 * 2 * w.large() * rank;
      break;
    case TrainingMethod::kApolloMini:
      if (linear) return 4 * 2 * w.large();
      break;
    case TrainingMethod::kLora:
    case TrainingMethod::kQLora: return 0;
  }
  return 8 * w.elements();
}

TrainingState adapter_state(TrainingMethod method, const WeightLayout& weights, Index rank) {
  TrainingState state{.method = method, .trainable = lora_parameters(weights, rank)};
  double base = 0;
  for (const WeightPlacement& p : weights.placements()) {
    const auto elements = static_cast<double>(p.spec.rows * p.spec.cols);
    base += elements * (method == TrainingMethod::kQLora && is_linear(p) ? kNf4DoubleQuantBits / 8 : 2);
  }
  state.weights = rounded(base) + Bytes{2 * state.trainable};
  state.gradients = {2 * state.trainable};
  state.master = {4 * state.trainable};
  state.optimizer = {8 * state.trainable};
  return state;
}

}  // namespace

std::string_view name(TrainingMethod method) {
  constexpr std::array<std::string_view, kTrainingMethods> kNames = {
      "adamw-fp32", "adamw-mixed", "adamw-bf16", "adamw-8bit",  "sgd/lion/muon", "sgd/lion/muon-bf16",
      "adafactor",  "galore",      "apollo",     "apollo-mini", "lora",          "qlora"};
  return kNames[static_cast<std::size_t>(method)];
}

TrainingState training_state(TrainingMethod method, const WeightLayout& weights, Index rank) {
  JERICHO_CHECK(rank >= 1, "rank {}", rank);
  if (method == TrainingMethod::kLora || method == TrainingMethod::kQLora) return adapter_state(method, weights, rank);
  TrainingState state{.method = method, .trainable = weights.parameters()};
  double optimizer = 0;
  for (const WeightPlacement& p : weights.placements()) {
    const Matrix matrix{static_cast<double>(p.spec.rows), static_cast<double>(p.spec.cols)};
    optimizer += optimizer_bytes(method, matrix, is_linear(p), static_cast<double>(rank));
  }
  const bool fp32 = method == TrainingMethod::kAdamWFp32;
  const bool master = !fp32 && method != TrainingMethod::kAdamWBf16;
  state.weights = state.gradients = {(fp32 ? 4 : 2) * state.trainable};
  state.master = {master ? 4 * state.trainable : 0};
  state.optimizer = rounded(optimizer);
  return state;
}

std::vector<TrainingState> training_states(const WeightLayout& weights, Index rank) {
  std::vector<TrainingState> states;
  for (std::size_t i = 0; i < kTrainingMethods; ++i)
    states.push_back(training_state(static_cast<TrainingMethod>(i), weights, rank));
  return states;
}

Index lora_parameters(const WeightLayout& weights, Index rank) {
  Index sum = 0;
  for (const WeightPlacement& p : weights.placements()) {
    if (is_linear(p)) sum += rank * (p.spec.rows + p.spec.cols);
  }
  return sum;
}

Bytes saved_activations(const ModelConfig& c, Index tokens, Recompute recompute) {
  const auto d = static_cast<double>(c.hidden_size);
  const auto q = static_cast<double>(c.query_size()), kv = static_cast<double>(c.kv_size());
  double all = 0, most = 0;
  for (const LayerConfig& layer : c.layers) {
    double values = d;  // the residual between the two blocks
    double sums = 0;    // of attention, fp32
    if (layer.attention) {
      values += d + (2 * q + 2 * kv);
      sums = static_cast<double>(c.num_attention_heads);
    }
    if (layer.state_space != StateSpace::kNone) values += d + 4 * static_cast<double>(c.state_space.inner_size);
    if (layer.feed_forward == FeedForward::kDense) values += d + 3 * static_cast<double>(c.intermediate_size);
    if (layer.feed_forward == FeedForward::kExperts) {
      values += d + 3 * static_cast<double>(c.moe.experts_per_token * c.moe.intermediate_size +
                                            c.moe.shared_intermediate_size);
    }
    const double bytes = 2 * values + 4 * sums;
    all += bytes;
    most = std::max(most, bytes);
  }
  const double inputs = 2 * d * static_cast<double>(c.num_hidden_layers);
  return rounded(static_cast<double>(tokens) * (recompute == Recompute::kNone ? all : inputs + most) *
                 static_cast<double>(c.layer_passes));
}

double gelu_layer_bytes(double tokens, double hidden, double heads, double sequence) {
  return tokens * hidden * (34 + 5 * heads * sequence / hidden);
}

Bytes training_logit_bytes(const ModelConfig& config, Index tokens) { return {2 * tokens * config.vocab_size * 4}; }

}  // namespace jericho
