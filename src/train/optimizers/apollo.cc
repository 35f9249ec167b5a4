// APOLLO and APOLLO-Mini (Zhu et al. 2024, "APOLLO: SGD-like memory, AdamW-level performance", arXiv:2412.05270,
// algorithm 1):
// Adam on a random projection of the gradient says by how much each channel (Mini: the whole tensor) is to be scaled;
// the gradient itself moves the weight, and its norm may grow by 1 % a step. The projection is drawn from (key,
// refresh) whenever it is needed and is no state. The option `scale` is applied as its square root, as in the
// reference.
#include <algorithm>
#include <cmath>

#include "train/optimizers/moments.h"
#include "train/optimizers/projection.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

constexpr double kGrowth = 1.01, kTiny = 1e-8;
constexpr Index kLines = 64;

class Apollo final : public Optimizer {
 public:
  Apollo(const OptimizerOptions& options, const TrainedShape& tensor, DrawBasis draw)
      : Optimizer(tensor),
        options_(options),
        draw_(std::move(draw)),
        projection_(tensor, options.rank),
        moments_(projection_.extents(), options.state_bits()) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    std::vector<StatePart> parts = moments_.parts();
    parts.push_back({"previous_norm", DType::kF32, {1}});
    return parts;
  }
  [[nodiscard]] Bytes scratch_bytes(int) const override {
    ScratchSize scratch;
    take(scratch);
    return scratch.peak();
  }
  void start(std::span<std::byte> state) const override {
    moments_.start(state);
    previous_norm(state) = kNone;
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch& scratch) const override {
    move_weight(context, direction(context, update, gradient, state, scratch), gradient, weight);
  }
  [[nodiscard]] bool has_direction() const override { return true; }
  Move direction(const Context& context, const UpdateStep& update, MatrixView<float> gradient,
                 std::span<std::byte> state, Scratch& scratch) const override {
    const ScratchScope scope(scratch);
    const Buffers at = take(scratch);
    const MatrixView<float> basis(at.basis.data(), projection_.rank(), projection_.small());
    draw_(context, update.key, static_cast<std::uint32_t>((update.number - 1) / options_.refresh), basis);
    projection_.project(context, basis, gradient, at.cells, at.r);
    const Betas betas{options_.beta1, options_.beta2};
    moments_.update(context, state, [&](Index begin, std::span<float> m, std::span<float> v) {
      for (std::size_t i = 0; i < m.size(); ++i) {
        const auto k = static_cast<std::size_t>(begin) + i;
        betas.move(at.r[k], m[i], v[i]);
        at.n[k] = m[i] / (std::sqrt(v[i]) + options_.epsilon);
      }
    });
    const std::span<float> g(gradient.data(), static_cast<std::size_t>(shape().size()));
    double all = 1;  // what Mini scales the whole gradient by: no pass over it is needed for that
    if (options_.one_factor) {
      const double of_n = norm(context, at.n, at.sums), of_r = norm(context, at.r, at.sums);
      all = of_n / (of_r + kTiny);
    } else {
      scale_channels(context, gradient, at);
    }
    const double now = all * norm(context, g, at.sums);
    float& previous = previous_norm(state);
    double limit = 1;
    if (previous != kNone) limit = std::max(now / (static_cast<double>(previous) + kTiny), kGrowth) / kGrowth;
    if (now > 0) previous = static_cast<float>(now / limit);  // a step without a gradient says nothing about the next

    const double size = all * static_cast<double>(update.learning_rate) * betas.correction(update.number) *
                        std::sqrt(static_cast<double>(options_.scale)) / limit;
    return {static_cast<float>(size), 1 - update.learning_rate * options_.decay_of(shape())};
  }

 private:
  static constexpr float kNone = -1;  // no step was taken

  float& previous_norm(std::span<std::byte> state) const { return part<float>(state, moments_.parts().size())[0]; }

  struct Buffers {
    std::span<float> basis, r, n, factors;
    std::span<std::uint32_t> cells;
    std::span<double> sums;
  };
  template <class S>
  Buffers take(S& scratch) const {
    Buffers at;
    const Index basis = projection_.rank() * projection_.small();
    at.basis = scratch.template take<float>(basis);
    at.cells = scratch.template take<std::uint32_t>(projection_.cells());
    at.r = scratch.template take<float>(projection_.size());
    at.n = scratch.template take<float>(projection_.size());
    at.factors = scratch.template take<float>(projection_.size() / projection_.rank());
    at.sums = leaf_sums(scratch, shape().size());
    return at;
  }

  // Each channel of g times its |N| / |R|.
  void scale_channels(const Context& context, MatrixView<float> gradient, const Buffers& at) const {
    const Index channels = std::ssize(at.factors), rank = projection_.rank();
    const bool right = projection_.from_right();
    parallel_for(context.pool, channels, kLines, [&](Index begin, Index end, int) {
      for (Index c = begin; c < end; ++c) {
        double of_n = 0, of_r = 0;
        for (Index k = 0; k < rank; ++k) {
          const auto i = static_cast<std::size_t>(right ? c * rank + k : k * channels + c);
          of_n += static_cast<double>(at.n[i]) * static_cast<double>(at.n[i]);
          of_r += static_cast<double>(at.r[i]) * static_cast<double>(at.r[i]);
        }
        at.factors[static_cast<std::size_t>(c)] = static_cast<float>(std::sqrt(of_n) / (std::sqrt(of_r) + kTiny));
      }
    });
    parallel_for(context.pool, shape().rows, 1, [&](Index begin, Index end, int) {
      for (Index row = begin; row < end; ++row) {
        const std::span<float> g = gradient.row(row);
        for (std::size_t col = 0; col < g.size(); ++col)
          g[col] *= at.factors[right ? static_cast<std::size_t>(row) : col];
      }
    });
  }

  OptimizerOptions options_;
  DrawBasis draw_;
  Projection projection_;
  Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_apollo(const OptimizerOptions& options, const TrainedShape& shape) {
  if (shape.role != TensorRole::kProjection) return make_regular(options, shape);
  return make_apollo_on(options, shape, random_basis);
}

std::unique_ptr<Optimizer> make_apollo_on(const OptimizerOptions& options, const TrainedShape& shape, DrawBasis draw) {
  return std::make_unique<Apollo>(options, shape, std::move(draw));
}

}  // namespace jericho
