// Adam-mini (Zhang et al. 2024, "Adam-mini: use fewer learning rates to gain more", arXiv:2406.16793, algorithm 2 and
// section 2.3): the second moment is one number for each block of the Hessian: a head of q and k, an output row of
// other matrices, a whole norm. Biases keep one for each element.
#include <cmath>

#include "train/optimizers/elements.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class AdamMini final : public Optimizer {
 public:
  AdamMini(const OptimizerOptions& options, const TrainedShape& tensor) : Optimizer(tensor), options_(options) {
    if (tensor.role == TensorRole::kVector) {
      block_ = tensor.name.ends_with("bias") ? 1 : tensor.size();
    } else {
      block_ = tensor.cols * (tensor.head_rows > 0 ? tensor.head_rows : 1);
    }
  }

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    return {{"exp_avg", DType::kF32, {shape().rows, shape().cols}},
            {"exp_avg_sq", DType::kF32, {ceil_div(shape().size(), block_)}}};
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch&) const override {
    const float beta1 = options_.beta1, beta2 = options_.beta2;
    const AdamWStep how = adamw_step(options_, shape(), update);
    float* const m = part<float>(state, 0).data();
    const std::span<float> v = part<float>(state, 1);
    const Index blocks_at_once = std::max<Index>(1, kUpdateGrain / block_);
    parallel_for(context.pool, std::ssize(v), blocks_at_once, [&](Index first, Index last, int) {
      for (Index block = first; block < last; ++block) {
        const Index begin = block * block_, count = std::min(block_, shape().size() - begin);
        const float* const g = gradient.data() + begin;
        const auto mean = static_cast<float>(squares(g, count) / static_cast<double>(count));
        float& v_now = v[static_cast<std::size_t>(block)];
        v_now = beta2 * v_now + (1 - beta2) * mean;
        const float step_size = how.step_size / (std::sqrt(v_now) / how.root_correction + how.epsilon);
        float* const w = weight.data() + begin;
        for (Index i = 0; i < count; ++i) {
          float& m_now = m[begin + i];
          m_now = beta1 * m_now + (1 - beta1) * g[i];
          w[i] = w[i] * how.keep - step_size * m_now;
        }
      }
    });
  }

 private:
  OptimizerOptions options_;
  Index block_ = 1;
};

}  // namespace

std::unique_ptr<Optimizer> make_adam_mini(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<AdamMini>(options, shape);
}

}  // namespace jericho
