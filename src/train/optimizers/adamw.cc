// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) as torch.optim.AdamW has it, with both moments in
// fp32; the loop is kernels/adamw.h.
#include "train/optimizers/rules.h"

#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "kernels/adamw.h"
#include "kernels/training_kernels.h"
#include "train/optimizers/elements.h"

namespace jericho {
namespace {

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, const TrainedShape& tensor) : Optimizer(tensor), options_(options) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    const std::vector<Index> extents = {shape().rows, shape().cols};
    return {{"exp_avg", DType::kF32, extents}, {"exp_avg_sq", DType::kF32, extents}};
  }

  [[nodiscard]] bool scales() const override { return true; }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    AdamWStep how = adamw_step(options_, shape(), update);
    how.scale = update.scale;
    const std::span<float> m = part<float>(state, 0), v = part<float>(state, 1);
    const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
    const auto range = [&](Index begin, Index end, int) {
      kernels.adamw(how, gradient.data() + begin, end - begin, weight.data() + begin, m.data() + begin,
                    v.data() + begin);
    };
    parallel_for(context.pool, shape().size(), kUpdateGrain, range);
  }

 private:
  OptimizerOptions options_;
};

}  // namespace

AdamWStep adamw_step(const OptimizerOptions& options, const TrainedShape& shape, const UpdateStep& update) {
  const auto t = static_cast<double>(update.number), lr = static_cast<double>(update.learning_rate);
  const auto power = [&](float beta) { return pow_double(static_cast<double>(beta), t); };
  return {.beta1 = options.beta1,
          .beta2 = options.beta2,
          .epsilon = options.epsilon,
          .keep = static_cast<float>(1 - lr * static_cast<double>(options.decay_of(shape))),
          .step_size = static_cast<float>(lr / (1 - power(options.beta1))),
          .root_correction = static_cast<float>(std::sqrt(1 - power(options.beta2)))};
}

std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<AdamW>(options, shape);
}

}  // namespace jericho
