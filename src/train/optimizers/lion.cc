// Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675, program 1): the sign of a
// mean that leans towards the gradient. The sign of zero is zero.
#include "train/optimizers/elements.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class Lion final : public Optimizer {
 public:
  Lion(const OptimizerOptions& options, const TrainedShape& tensor) : Optimizer(tensor), options_(options) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    return {{"exp_avg", DType::kF32, {shape().rows, shape().cols}}};
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    const float lr = update.learning_rate, keep = 1 - lr * options_.decay_of(shape());
    const float beta1 = options_.beta1, beta2 = options_.beta2;
    float* const m = part<float>(state, 0).data();
    float* const w = weight.data();
    const float* const g = gradient.data();
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        const float c = beta1 * m[i] + (1 - beta1) * g[i];
        const float sign = static_cast<float>(c > 0) - static_cast<float>(c < 0);
        w[i] = w[i] * keep - lr * sign;
        m[i] = beta2 * m[i] + (1 - beta2) * g[i];
      }
    });
  }

 private:
  OptimizerOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_lion(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<Lion>(options, shape);
}

}  // namespace jericho
