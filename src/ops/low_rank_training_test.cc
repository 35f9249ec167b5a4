// The gradients of an adapter against a worked example; those of whole models are in models/training_pass_test.cc.
#include "ops/low_rank_training.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "memory/ledger.h"
#include "ops/dense.h"

namespace jericho {
namespace {

using testing::Pointwise;

MATCHER(IsNear, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 1e-6f; }

// W = I, A = [[0.5, -1]], B = [[0], [0.2]], s = 2, x = [1, 2], dy = [0.3, -0.4]; a second rank of zeros makes it even.
class WorkedExample : public testing::Test {
 protected:
  WorkedExample() {
    ScratchSize size;
    LowRankRoom::take(size, DType::kF32, 1, 1, 2, 2);
    block_.resize(size.peak().size() + 64);
    const auto address = reinterpret_cast<std::uintptr_t>(block_.data());
    const std::span<std::byte> all(block_);
    Scratch scratch(all.subspan((64 - address % 64) % 64, size.peak().size()));
    room_ = LowRankRoom::take(scratch, DType::kF32, 1, 1, 2, 2).of(1, 2, 2);
    cells_.resize(static_cast<std::size_t>(
        std::max(packed_weight_cells(DType::kF32, 2, 2), weight_gradient_cells(DType::kF32, 1, 2, 2))));
  }
  [[nodiscard]] TrainedLowRank adapter() const { return {{a_.data(), 2, 2}, {b_.data(), 2, 2}, 2, gain_, magnitude_}; }
  [[nodiscard]] std::vector<float> output() {
    std::vector<float> y = x_;  // W is the identity
    add_low_rank(context_, DType::kF32, adapter(), float_rows(std::as_const(x_).data(), 1, 2), room_, cells_,
                 {y.data(), 1, 2});
    return y;
  }

  Ledger ledger_{LedgerCaps{.ram = 1_MiB}};
  ThreadPool pool_{2};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
  std::vector<float> a_ = {0.5f, -1, 0, 0}, b_ = {0, 0, 0.2f, 0}, x_ = {1, 2}, dy_ = {0.3f, -0.4f};
  std::vector<float> gain_{}, magnitude_{};
  std::vector<std::byte> block_;
  LowRankRoom room_;
  std::vector<std::uint32_t> cells_;
};

TEST_F(WorkedExample, OfLoraHasTheseOutputsAndGradients) {
  EXPECT_THAT(output(), Pointwise(IsNear(), std::vector<float>{1, 1.4f}));
  std::vector<float> da(4), db(4), dx = dy_;
  const ConstFloatRows dy = float_rows(std::as_const(dy_).data(), 1, 2);
  add_low_rank_input_gradient(context_, DType::kF32, adapter(), dy, room_, cells_, {dx.data(), 1, 2});
  const std::vector<Index> ends = {1};
  add_low_rank_gradients(context_, DType::kF32, adapter(), dy, float_rows(std::as_const(x_).data(), 1, 2), ends, room_,
                         cells_, MatrixView<float>(da.data(), 2, 2), MatrixView<float>(db.data(), 2, 2));
  EXPECT_THAT(dx, Pointwise(IsNear(), std::vector<float>{0.22f, -0.24f}));
  EXPECT_THAT(da, Pointwise(IsNear(), std::vector<float>{-0.16f, -0.32f, 0, 0}));
  EXPECT_THAT(db, Pointwise(IsNear(), std::vector<float>{-0.9f, 0, 1.2f, 0}));
}

TEST_F(WorkedExample, OfDoraHasTheseOutputsAndThisGradientOfItsMagnitudes) {
  magnitude_ = {1, 1};
  gain_ = {1, 1 / 0.632455532f};
  const std::vector<float> z = output();
  std::vector<float> y = z, dz = dy_, dmagnitude(2);
  gain_columns(context_, gain_, float_rows(y.data(), 1, 2));
  EXPECT_THAT(y, Pointwise(IsNear(), std::vector<float>{1, 2.21359436f}));
  gain_columns(context_, gain_, float_rows(dz.data(), 1, 2));
  const std::vector<Index> leaves = {1};
  add_magnitude_gradient(context_, float_rows(std::as_const(dz).data(), 1, 2), {z.data(), 1, 2}, magnitude_, leaves,
                         room_, dmagnitude);
  EXPECT_THAT(dmagnitude, Pointwise(IsNear(), std::vector<float>{0.3f, -0.885437745f}));
}

}  // namespace
}  // namespace jericho
