// AdamW with both moments in eight bits (Dettmers et al. 2022, arXiv:2110.02861): decay, then the step of the
// unquantized new moments, then their quantization. Tensors below 4096 elements keep fp32 moments. Differs: a second
// moment that is not zero never becomes zero (dynamic_map.h).
#include <cmath>

#include "train/optimizers/moments.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class AdamW8 final : public Optimizer {
 public:
  AdamW8(const OptimizerOptions& options, const TrainedShape& tensor)
      : Optimizer(tensor), options_(options), moments_({tensor.rows, tensor.cols}, StateBits::k8) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override { return moments_.parts(); }
  void start(std::span<std::byte> state) const override { moments_.start(state); }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    const Betas betas{options_.beta1, options_.beta2};
    const AdamWStep how = adamw_step(options_, shape(), update);
    moments_.update(context, state, [&](Index begin, std::span<float> m, std::span<float> v) {
      float* const w = weight.data() + begin;
      const float* const g = gradient.data() + begin;
      for (std::size_t i = 0; i < m.size(); ++i) {
        betas.move(g[i], m[i], v[i]);
        w[i] = w[i] * how.keep - (how.step_size * m[i]) / (std::sqrt(v[i]) / how.root_correction + how.epsilon);
      }
    });
  }

 private:
  OptimizerOptions options_;
  Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw8(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<AdamW8>(options, shape);
}

}  // namespace jericho
