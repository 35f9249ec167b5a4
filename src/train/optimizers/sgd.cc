// Stochastic gradient descent with momentum, in the form of torch.optim.SGD: the buffer begins as the first gradient,
// and the learning rate is outside it.
#include <cstddef>

#include "train/optimizers/elements.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const TrainedShape& tensor) : Optimizer(tensor), options_(options) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    if (options_.momentum == 0) return {};
    return {{"momentum_buffer", DType::kF32, {shape().rows, shape().cols}}};
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    const float decay = options_.decay_of(shape()), mu = options_.momentum, lr = update.learning_rate;
    float* const buffer = mu == 0 ? nullptr : part<float>(state, 0).data();
    float* const w = weight.data();
    const float* const gradients = gradient.data();
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        const float g = gradients[i] + decay * w[i];
        float move = g;
        if (buffer != nullptr) {
          buffer[i] = update.number == 1 ? g : mu * buffer[i] + g;
          move = options_.nesterov ? g + mu * buffer[i] : buffer[i];
        }
        w[i] -= lr * move;
      }
    });
  }

 private:
  OptimizerOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<Sgd>(options, shape);
}

}  // namespace jericho
