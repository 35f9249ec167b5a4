// GaLore (Zhao et al. 2024, "GaLore: memory-efficient LLM training by gradient low-rank projection", arXiv:2403.03507,
// algorithm 2): Adam on the gradient's projection onto its leading singular vectors, which are found anew every so many
// steps; moments carry over, as in the reference. Differs: the sign of each vector is fixed (projection.h).
// Q-GaLore (Zhang et al. 2024, arXiv:2407.08296, algorithm 1) keeps the vectors in four bits and finds them more
// seldom where they hardly turn: when the last five first vectors had a mean |cosine| of 0.4 or more with the one
// before, the steps between two refreshes double. Differs: |cosine|, where the reference's sign of a vector may hide
// that it stayed, and the one before is that of four bits.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "train/optimizers/four_bits.h"
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
    const Index rank = projection_.rank(), small = projection_.small();
    if (!options_.four_bits) {
      parts.push_back({"projection", DType::kF32, {rank, small}});
      return parts;
    }
    parts.push_back({"projection.q4", DType::kU8, {rank, four_bit_bytes(small)}});
    parts.push_back({"projection.scale", DType::kF32, {rank, four_bit_groups(small)}});
    parts.push_back({"projection.zero", DType::kU8, {rank, four_bit_groups(small)}});
    parts.push_back({"refresh", DType::kF32, {static_cast<Index>(sizeof(Refresh) / sizeof(float))}});
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
    const MatrixView<float> basis = options_.four_bits
                                        ? lazy_basis(context, update, gradient, state, at)
                                        : MatrixView<float>(part<float>(state, moments_.parts().size()).data(),
                                                            projection_.rank(), projection_.small());
    if (!options_.four_bits && (update.number - 1) % options_.refresh == 0)
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
    std::span<float> basis, before;  // of four bits
    std::span<std::uint32_t> cells;
  };
  template <class S>
  Buffers take(S& scratch) const {
    Buffers at;
    at.gram = scratch.template take<double>(projection_.small() * projection_.small());
    at.turned = scratch.template take<float>(projection_.rank() * projection_.small());
    at.r = scratch.template take<float>(projection_.size());
    at.cells = scratch.template take<std::uint32_t>(projection_.cells());
    at.basis = scratch.template take<float>(options_.four_bits ? projection_.rank() * projection_.small() : 0);
    at.before = scratch.template take<float>(options_.four_bits ? projection_.small() : 0);
    return at;
  }

  struct Refresh {  // whole numbers below 2^24
    float interval = 0;
    float next = 0;  // updates before it
    float cosines_known = 0;
    std::array<float, 5> cosines{};
  };
  [[nodiscard]] FourBitRow four_bits(std::span<std::byte> state, Index row) const {
    const std::size_t first = moments_.parts().size();
    const auto of = [&]<class T>(std::span<T> all) {
      const std::size_t each = all.size() / static_cast<std::size_t>(projection_.rank());
      return all.subspan(static_cast<std::size_t>(row) * each, each);
    };
    return {of(part<std::uint8_t>(state, first)), of(part<float>(state, first + 1)),
            of(part<std::uint8_t>(state, first + 2))};
  }

  // The vectors that four bits stand for, found anew before where that is due.
  MatrixView<float> lazy_basis(const Context& context, const UpdateStep& update, MatrixView<const float> gradient,
                               std::span<std::byte> state, const Buffers& at) const {
    const MatrixView<float> basis(at.basis.data(), projection_.rank(), projection_.small());
    auto& refresh = *reinterpret_cast<Refresh*>(part<float>(state, moments_.parts().size() + 3).data());
    if (static_cast<float>(update.number - 1) >= refresh.next) {
      from_four_bits(four_bits(state, 0), at.before);
      top_singular_vectors(context, projection_, gradient, at.gram, basis);
      if (update.number > 1) note_turn(basis.row(0), at.before, refresh);
      if (refresh.interval == 0) refresh.interval = static_cast<float>(options_.refresh);
      refresh.next = static_cast<float>(update.number - 1) + refresh.interval;
      for (Index k = 0; k < projection_.rank(); ++k) to_four_bits(basis.row(k), four_bits(state, k));
    }
    parallel_for(context.pool, projection_.rank(), 1, [&](Index begin, Index end, int) {
      for (Index k = begin; k < end; ++k) from_four_bits(four_bits(state, k), basis.row(k));
    });
    return basis;
  }

  static void note_turn(std::span<const float> now, std::span<const float> before, Refresh& refresh) {
    double dot = 0, length = 0, length_before = 0;
    for (std::size_t i = 0; i < now.size(); ++i) {
      const auto x = static_cast<double>(now[i]), y = static_cast<double>(before[i]);
      dot += x * y;
      length += x * x;
      length_before += y * y;
    }
    const double lengths = std::sqrt(length * length_before);
    std::rotate(refresh.cosines.begin(), refresh.cosines.begin() + 1, refresh.cosines.end());
    refresh.cosines.back() = static_cast<float>(lengths > 0 ? std::abs(dot) / lengths : 0);
    refresh.cosines_known = std::min(refresh.cosines_known + 1, 5.0f);
    const float mean = std::accumulate(refresh.cosines.begin(), refresh.cosines.end(), 0.0f) / 5;
    if (refresh.cosines_known == 5 && mean >= 0.4f) refresh.interval *= 2;
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
