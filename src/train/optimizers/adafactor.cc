// Adafactor (Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", arXiv:1804.04235,
// algorithms 4 and 5): the second moment of a matrix is the product of the means of its rows and columns; no first
// moment. Vectors keep theirs whole. The update is clipped by its own size, and follows that of the weight where asked.
#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "train/optimizers/elements.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

constexpr double kSquareFloor = 1e-30, kWeightFloor = 1e-3, kClip = 1, kDecayExponent = -0.8;
constexpr Index kColumns = 64;  // whose sums one part of the pool's work takes

class Adafactor final : public Optimizer {
 public:
  Adafactor(const OptimizerOptions& options, const TrainedShape& tensor) : Optimizer(tensor), options_(options) {}

  [[nodiscard]] std::vector<StatePart> state_parts() const override {
    if (!factored()) return {{"exp_avg_sq", DType::kF32, {shape().rows, shape().cols}}};
    return {{"exp_avg_sq_row", DType::kF32, {shape().rows}}, {"exp_avg_sq_col", DType::kF32, {shape().cols}}};
  }
  [[nodiscard]] Bytes scratch_bytes(int) const override {
    ScratchSize scratch;
    leaf_sums(scratch, shape().size());
    return scratch.peak();
  }

  void step(const Context& context, const UpdateStep& update, MatrixView<float> weight, MatrixView<float> gradient,
            std::span<std::byte> state, Scratch& scratch) const override {
    const auto t = static_cast<double>(update.number);
    const double beta = 1 - pow_double(t, kDecayExponent);
    const ScratchScope scope(scratch);
    const std::span<double> sums = leaf_sums(scratch, shape().size());
    if (factored()) {
      divide_by_factors(context, beta, gradient, part<float>(state, 0), part<float>(state, 1));
    } else {
      divide_by_roots(context, beta, gradient, part<float>(state, 0));
    }
    const std::span<const float> u(gradient.data(), static_cast<std::size_t>(shape().size()));
    const double root_size = std::sqrt(static_cast<double>(shape().size()));
    const double rms = norm(context, u, sums) / root_size;
    double alpha =
        options_.relative_step ? std::min(1e-2, 1 / std::sqrt(t)) : static_cast<double>(update.learning_rate);
    if (options_.scale_parameter) {
      const double weight_norm = norm(context, {weight.data(), u.size()}, sums);
      alpha *= std::max(kWeightFloor, weight_norm / root_size);
    }
    const auto factor = static_cast<float>(alpha / std::max(1.0, rms / kClip));
    const auto keep = static_cast<float>(1 - alpha * static_cast<double>(options_.decay_of(shape())));
    float* const w = weight.data();
    parallel_for(context.pool, shape().size(), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) w[i] = w[i] * keep - factor * u[static_cast<std::size_t>(i)];
    });
  }

 private:
  [[nodiscard]] bool factored() const { return shape().rows > 1 && shape().cols > 1; }

  // g / sqrt((R / mean(R)) C), in place.
  void divide_by_factors(const Context& context, double beta, MatrixView<float> g, std::span<float> rows,
                         std::span<float> cols) const {
    const Index m = shape().rows, n = shape().cols;
    const auto moved = [&](float& mean, double now) {
      mean = static_cast<float>(beta * static_cast<double>(mean) + (1 - beta) * now);
    };
    parallel_for(context.pool, m, 1, [&](Index begin, Index end, int) {
      for (Index row = begin; row < end; ++row) {
        const double mean = squares(g.row(row).data(), n) / static_cast<double>(n) + kSquareFloor;
        moved(rows[static_cast<std::size_t>(row)], mean);
      }
    });
    parallel_for(context.pool, n, kColumns, [&](Index begin, Index end, int) {
      std::array<double, kColumns> sums{};
      for (Index row = 0; row < m; ++row) {
        const float* const values = g.row(row).data();
        for (Index col = begin; col < end; ++col) {
          const auto value = static_cast<double>(values[col]);
          sums[static_cast<std::size_t>(col - begin)] += value * value;
        }
      }
      for (Index col = begin; col < end; ++col) {
        const double mean = sums[static_cast<std::size_t>(col - begin)] / static_cast<double>(m) + kSquareFloor;
        moved(cols[static_cast<std::size_t>(col)], mean);
      }
    });
    double mean_of_rows = 0;
    for (const float row : rows) mean_of_rows += static_cast<double>(row);
    mean_of_rows /= static_cast<double>(m);
    parallel_for(context.pool, m, 1, [&](Index begin, Index end, int) {
      for (Index row = begin; row < end; ++row) {
        const auto of_row = static_cast<float>(static_cast<double>(rows[static_cast<std::size_t>(row)]) / mean_of_rows);
        float* const values = g.row(row).data();
        for (std::size_t col = 0; col < cols.size(); ++col) values[col] /= std::sqrt(of_row * cols[col]);
      }
    });
  }

  static void divide_by_roots(const Context& context, double beta, MatrixView<float> g, std::span<float> v) {
    const auto old = static_cast<float>(beta), rest = static_cast<float>(1 - beta);
    parallel_for(context.pool, std::ssize(v), kUpdateGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        float &value = g.data()[i], &mean = v[static_cast<std::size_t>(i)];
        mean = old * mean + rest * (value * value + static_cast<float>(kSquareFloor));
        value = mean > 0 ? value / std::sqrt(mean) : 0;
      }
    });
  }

  OptimizerOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, const TrainedShape& shape) {
  return std::make_unique<Adafactor>(options, shape);
}

}  // namespace jericho
