// Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum, then five
// Newton-Schulz steps that bring all singular values near one. Only for projections; the rest is AdamW's at a fraction
// of the rate. `muon_rms` takes the factor of Liu et al. 2025 ("Muon is scalable for LLM training", arXiv:2502.16982,
// section 2.2), with which AdamW's rates carry over. Differs: the steps are in fp32.
#include <algorithm>
#include <cmath>

#include "train/optimizers/elements.h"
#include "train/optimizers/products.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
constexpr int kSteps = 5;

class Muon final : public Optimizer {
 public:
  Muon(const OptimizerOptions& options, const TrainedShape& tensor)
      : Optimizer(tensor),
        options_(options),
        side_(std::min(tensor.rows, tensor.cols)),
        length_(std::max(tensor.rows, tensor.cols)) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    return {{"momentum_buffer", DType::kF32, {shape().rows, shape().cols}}};
  }
  [[nodiscard]] Bytes scratch_bytes(int) const override {
    ScratchSize scratch;
    take(scratch);
    return scratch.peak();
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch& scratch) const override {
    const ScratchScope scope(scratch);
    const Buffers at = take(scratch);
    const float mu = options_.momentum;
    float* const m = part<float>(state, 0).data();
    float* const g = gradient.data();
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        m[i] += (1 - mu) * (g[i] - m[i]);
        g[i] = options_.nesterov ? g[i] + mu * (m[i] - g[i]) : m[i];
      }
    });
    const std::span<float> values(g, static_cast<std::size_t>(shape().size()));
    const auto inverse = static_cast<float>(1 / (norm(context, values, at.sums) + 1e-7));
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) g[i] *= inverse;
    });
    const bool turned = shape().rows > shape().cols;
    const MatrixView<float> x(turned ? at.x.data() : g, side_, length_);
    if (turned) transpose(context, gradient, x);
    orthogonalise(context, x, at);
    if (turned) transpose(context, x, gradient);

    const auto rows = static_cast<float>(shape().rows), cols = static_cast<float>(shape().cols);
    const float scale =
        options_.muon_rms ? 0.2f * std::sqrt(std::max(rows, cols)) : std::sqrt(std::max(1.0f, rows / cols));
    const float lr = update.learning_rate, keep = 1 - lr * options_.decay_of(shape()), size = lr * scale;
    float* const w = weight.data();
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) w[i] = w[i] * keep - size * g[i];
    });
  }

 private:
  struct Buffers {
    std::span<double> sums;
    std::span<float> x;  // where the gradient must be turned
    std::span<float> other, a, b;
    std::span<std::uint32_t> cells;
  };
  template <class S>
  Buffers take(S& scratch) const {
    const Index whole = side_ * length_, square = side_ * side_;
    const bool turned = shape().rows > shape().cols;
    Buffers at;
    at.sums = leaf_sums(scratch, whole);
    at.x = scratch.template take<float>(turned ? whole : 0);
    at.other = scratch.template take<float>(whole);
    at.a = scratch.template take<float>(square);
    at.b = scratch.template take<float>(square);
    at.cells = scratch.template take<std::uint32_t>(
        std::max({product_cells(length_, side_), product_cells(side_, side_), product_cells(side_, length_)}));
    return at;
  }

  // x <- a x + (b A + c A A) x with A = x x^T, five times.
  void orthogonalise(const Context& context, MatrixView<float> x, const Buffers& at) const {
    const MatrixView<float> a(at.a.data(), side_, side_), b(at.b.data(), side_, side_);
    const MatrixView<float> product(at.other.data(), side_, length_);
    const auto mix = [&](float alpha, const float* p, float beta, float* q, Index count) {  // q = alpha p + beta q
      parallel_for(context.pool, count, kUpdateGrain, [&](Index begin, Index end, int) {
        for (Index i = begin; i < end; ++i) q[i] = alpha * p[i] + beta * q[i];
      });
    };
    for (int i = 0; i < kSteps; ++i) {
      multiply_transposed(context, x, x, at.cells, a);
      multiply(context, a, a, at.cells, b);
      mix(kB, a.data(), kC, b.data(), side_ * side_);
      multiply(context, b, x, at.cells, product);
      mix(1, product.data(), kA, x.data(), side_ * length_);
    }
  }

  OptimizerOptions options_;
  Index side_, length_;
};

// Another rule at a fraction of the learning rate.
class AtRate final : public Optimizer {
 public:
  AtRate(float ratio, std::unique_ptr<Optimizer> rule)
      : Optimizer(rule->shape()), ratio_(ratio), rule_(std::move(rule)) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override { return rule_->state_parts(); }
  [[nodiscard]] Bytes scratch_bytes(int threads) const override { return rule_->scratch_bytes(threads); }
  void start(std::span<std::byte> state) const override { rule_->start(state); }
  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch& scratch) const override {
    UpdateStep slower = update;
    slower.learning_rate *= ratio_;
    rule_->step(context, slower, weight, gradient, state, scratch);
  }

 private:
  float ratio_;
  std::unique_ptr<Optimizer> rule_;
};

}  // namespace

std::unique_ptr<Optimizer> make_muon(const OptimizerOptions& options, const TrainedShape& shape) {
  if (shape.role == TensorRole::kProjection) return std::make_unique<Muon>(options, shape);
  OptimizerOptions adamw = options;
  adamw.beta1 = 0.9f, adamw.beta2 = 0.95f;
  return std::make_unique<AtRate>(options.adamw_rate, make_adamw(adamw, shape));
}

}  // namespace jericho
