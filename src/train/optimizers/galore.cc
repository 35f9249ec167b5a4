// GaLore (Zhao et al. 2024, "GaLore: memory-efficient LLM training by gradient low-rank projection", arXiv:2403.03507,
// algorithm 2): Adam on the gradient's projection onto its leading singular vectors, which are found anew every so many
// steps; moments carry over, as in the reference. Differs: the sign of each vector is fixed (projection.h).
#include <cmath>

#include "train/optimizers/moments.h"
#include "train/optimizers/projection.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

class GaLore final : public Optimizer {
 public:
  GaLore(const OptimizerOptions& options, const TrainedShape& tensor)
      : Optimizer(tensor),
        options_(options),
        projection_(tensor, options.rank),
        moments_(projection_.extents(), options.state_bits()) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    std::vector<StatePart> parts = moments_.parts();
    parts.push_back({"projection", DType::kF32, {projection_.rank(), projection_.small()}});
    return parts;
  }
  [[nodiscard]] Bytes scratch_bytes(int) const override {
    ScratchSize scratch;
    take(scratch);
    return scratch.peak();
  }
  [[nodiscard]] Bytes heap_bytes() const override { return singular_vectors_heap(projection_.small()); }
  void start(std::span<std::byte> state) const override { moments_.start(state); }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch& scratch) const override {
    move_weight(context, direction(context, update, gradient, state, scratch), gradient, weight);
  }
  [[nodiscard]] bool has_direction() const override { return true; }
  Move direction(const Context& context, const UpdateStep& update, MatrixView<float> gradient,
                 std::span<std::byte> state, Scratch& scratch) const override {
    const ScratchScope scope(scratch);
    const Buffers at = take(scratch);
    const MatrixView<float> basis(part<float>(state, moments_.parts().size()).data(), projection_.rank(),
                                  projection_.small());
    if ((update.number - 1) % options_.refresh == 0)
      top_singular_vectors(context, projection_, gradient, at.gram, basis);
    projection_.project(context, basis, gradient, at.cells, at.r);
    const Betas betas{options_.beta1, options_.beta2};
    moments_.update(context, state, [&](Index begin, std::span<float> m, std::span<float> v) {
      float* const r = at.r.data() + begin;
      for (std::size_t i = 0; i < m.size(); ++i) {
        betas.move(r[i], m[i], v[i]);
        r[i] = m[i] / (std::sqrt(v[i]) + options_.epsilon);
      }
    });
    projection_.back(context, basis, at.r, at.turned, at.cells, gradient);
    const double size = static_cast<double>(update.learning_rate) * betas.correction(update.number);
    return {static_cast<float>(size * static_cast<double>(options_.scale)),
            1 - update.learning_rate * options_.decay_of(shape())};
  }

 private:
  struct Buffers {
    std::span<double> gram;
    std::span<float> turned, r;
    std::span<std::uint32_t> cells;
  };
  template <class S>
  Buffers take(S& scratch) const {
    Buffers at;
    at.gram = scratch.template take<double>(projection_.small() * projection_.small());
    at.turned = scratch.template take<float>(projection_.rank() * projection_.small());
    at.r = scratch.template take<float>(projection_.size());
    at.cells = scratch.template take<std::uint32_t>(projection_.cells());
    return at;
  }

  OptimizerOptions options_;
  Projection projection_;
  Moments moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_galore(const OptimizerOptions& options, const TrainedShape& shape) {
  if (shape.role == TensorRole::kProjection) return std::make_unique<GaLore>(options, shape);
  return make_regular(options, shape);
}

}  // namespace jericho
