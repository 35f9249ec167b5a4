// AdamW as earlier releases of Transformers had it, and with them GaLore's and APOLLO's regular parameters: epsilon
// beside the uncorrected root, decay last and of the updated weight.
#include <cmath>

#include "train/optimizers/moments.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class AdamWHf final : public Optimizer {
 public:
  AdamWHf(const OptimizerOptions& options, const TrainedShape& tensor)
      : Optimizer(tensor), options_(options), moments_({tensor.rows, tensor.cols}, options.state_bits()) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override { return moments_.parts(); }
  void start(std::span<std::byte> state) const override { moments_.start(state); }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    const Betas betas{options_.beta1, options_.beta2};
    const auto size = static_cast<float>(static_cast<double>(update.learning_rate) * betas.correction(update.number));
    const float keep = 1 - update.learning_rate * options_.decay_of(shape());
    moments_.update(context, state, [&](Index begin, std::span<float> m, std::span<float> v) {
      float* const w = weight.data() + begin;
      const float* const g = gradient.data() + begin;
      for (std::size_t i = 0; i < m.size(); ++i) {
        betas.move(g[i], m[i], v[i]);
        w[i] = (w[i] - size * (m[i] / (std::sqrt(v[i]) + options_.epsilon))) * keep;
      }
    });
  }

 private:
  OptimizerOptions options_;
  Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw_hf(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<AdamWHf>(options, shape);
}

}  // namespace jericho
