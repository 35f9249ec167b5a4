// States by sequence: where they lie, what they cost, and that neither threads nor cuts nor company change a bit.
#include "ops/state_space.h"

#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "kernels/bit_equal.h"
#include "kernels/kernels.h"
#include "memory/ledger.h"

namespace jericho {
namespace {

StateLayout mamba_layout(Index layers, Index inner, KvType type = KvType::kF16) {
  return {.type = type, .layers = layers, .channels = inner, .history = 3, .values = inner * 16};
}
StateLayout mamba2_layout(Index layers, Index heads) {
  return {.layers = layers, .channels = heads * 64 + 2 * 128, .history = 3, .values = heads * 64 * 128};
}

TEST(StateLayout, AmountsToThePublishedBytesPerSequence) {
  EXPECT_EQ(mamba_layout(24, 1536).bytes_per_sequence(), 2'580'480_B);   // Mamba 130M
  EXPECT_EQ(mamba_layout(64, 5120).bytes_per_sequence(), 22'937'600_B);  // Mamba 2.8B
  EXPECT_EQ(mamba2_layout(24, 24).bytes_per_sequence(), 19'132'416_B);   // Mamba-2 130M
  EXPECT_EQ(mamba2_layout(64, 80).bytes_per_sequence(), 169'836'544_B);  // Mamba-2 2.7B
  EXPECT_EQ(mamba_layout(28, 8192).bytes_per_sequence(), 16'056'320_B);  // Jamba 0.1
  EXPECT_EQ(mamba_layout(24, 1536, KvType::kF32).bytes_per_sequence(), 24_B * (1536 * (3 * 4 + 16 * 4)));
}

TEST(StateLayout, PlacesEveryStateOnACacheLineWithoutOverlap) {
  for (const Index inner : {1, 5, 33, 96}) {
    for (const KvType type : kKvTypes) {
      const StateLayout layout = mamba_layout(3, inner, type);
      Bytes end{};
      for (Index layer = 0; layer < 3; ++layer) {
        EXPECT_GE(layout.conv_offset(layer), end);
        EXPECT_GE(layout.scan_offset(layer), layout.conv_offset(layer) + layout.conv_bytes());
        EXPECT_EQ(layout.conv_offset(layer).count % 64, 0);
        EXPECT_EQ(layout.scan_offset(layer).count % 64, 0);
        end = layout.scan_offset(layer) + layout.scan_bytes();
      }
      EXPECT_GE(layout.page_bytes(), end);
      EXPECT_EQ(layout.page_bytes().count % 4096, 0);
      EXPECT_GE(layout.page_bytes(), layout.bytes_per_sequence());
    }
  }
  EXPECT_EQ(StateLayout{}.page_bytes(), 0_B);
}

TEST(SequencesOf, FindsTheRowsOfEachSequence) {
  const std::vector<BatchRow> rows = {{2, 5}, {2, 6}, {0, 0}, {1, 9}, {1, 10}, {1, 11}};
  std::vector<SequenceRows> room(rows.size());
  const auto runs = sequences_of(rows, room);
  ASSERT_EQ(runs.size(), 3u);
  const std::array<std::array<Index, 3>, 3> expected = {{{2, 0, 2}, {0, 2, 1}, {1, 3, 3}}};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(runs[i].sequence, expected[i][0]);
    EXPECT_EQ(runs[i].first, expected[i][1]);
    EXPECT_EQ(runs[i].count, expected[i][2]);
  }
  EXPECT_TRUE(sequences_of({}, room).empty());
}

TEST(SequencesOfDeathTest, RefusesRowsOutOfOrder) {
  const std::vector<BatchRow> rows = {{0, 5}, {0, 7}};
  std::vector<SequenceRows> room(2);
  EXPECT_DEATH(static_cast<void>(sequences_of(rows, room)), "position 7 after 5");
}

// One layer of two groups, 6 heads of 20 channels: convolution, steps, scan and norm of three sequences.
constexpr Index kHeads = 6, kWidth = 20, kState = 24, kGroups = 2, kInner = kHeads * kWidth;
constexpr Index kTokens = 40;  // of each sequence

struct Sequence {
  explicit Sequence(unsigned seed)
      : x(random_row(kTokens * kInner, seed)),
        dt(random_row(kTokens * kHeads, seed + 1)),
        b(random_row(kTokens * kGroups * kState, seed + 2)),
        c(random_row(kTokens * kGroups * kState, seed + 3)),
        z(random_row(kTokens * kInner, seed + 4)) {}
  std::vector<float> x, dt, b, c, z;
};

class StateSpaceOps : public testing::Test {
 protected:
  void SetUp() override { flush_subnormals(); }

  // Feeds `sequences` together, `chunk` tokens of each at a time; what the first gets out.
  std::vector<float> run(int threads, Index chunk, std::span<const unsigned> sequences, KvType type = KvType::kF16) {
    ThreadPool pool(threads);
    const Context context{ledger_, pool, kernels_for(chosen_cpu_path())};
    const StateLayout layout = {.type = type, .layers = 2, .channels = kInner, .history = 3, .values = kInner * kState};
    std::vector<Sequence> texts;
    std::vector<std::vector<float>> pages;
    std::vector<std::byte*> states;
    for (const unsigned seed : sequences) {
      texts.emplace_back(seed);
      pages.emplace_back(layout.page_bytes().size() / 4);
    }
    for (auto& page : pages) states.push_back(reinterpret_cast<std::byte*>(page.data()));
    std::vector<float> out;
    for (Index begin = 0; begin < kTokens; begin += chunk) {
      const Index count = std::min(chunk, kTokens - begin);
      std::vector<BatchRow> rows;
      std::vector<float> x, dt, b, c, z;
      for (std::size_t s = 0; s < texts.size(); ++s) {
        for (Index t = begin; t < begin + count; ++t) rows.push_back({static_cast<std::int32_t>(s), t});
        const auto take = [&](const std::vector<float>& from, Index width, std::vector<float>& to) {
          to.insert(to.end(), from.begin() + begin * width, from.begin() + (begin + count) * width);
        };
        take(texts[s].x, kInner, x);
        take(texts[s].dt, kHeads, dt);
        take(texts[s].b, kGroups * kState, b);
        take(texts[s].c, kGroups * kState, c);
        take(texts[s].z, kInner, z);
      }
      const auto T = static_cast<Index>(rows.size());
      std::vector<SequenceRows> room(rows.size());
      const StateRows state = {layout, 1, sequences_of(rows, room), states};
      const MatrixView<float> inputs(x.data(), T, kInner), steps(dt.data(), T, kHeads);
      // Two parts of the channels on their own, as x, B and C of Mamba-2 are.
      causal_conv1d(context, state, {weight_.data(), bias_.data(), 4}, 0, inputs.cols(0, 50));
      causal_conv1d(context, state, {weight_.data() + 200, bias_.data() + 50, 4}, 50, inputs.cols(50, kInner - 50));
      mamba2_scan(context, state, kGroups,
                  {.dt = steps,
                   .dt_bias = dt_bias_,
                   .lowest = 0,
                   .highest = 100,
                   .b = {b.data(), T, kGroups * kState},
                   .c = {c.data(), T, kGroups * kState},
                   .a = a_.data(),
                   .d = d_.data(),
                   .gate = {z.data(), T, kInner}},
                  inputs);
      grouped_rms_norm(context, norm_, kGroups, 1e-5f, inputs);
      out.insert(out.end(), x.begin(), x.begin() + count * kInner);
    }
    return out;
  }

  Ledger ledger_{LedgerCaps{.ram = 1_MiB}};
  std::vector<float> weight_ = random_row(kInner * 4, 11), bias_ = random_row(kInner, 12);
  std::vector<float> dt_bias_ = random_row(kHeads, 13), d_ = random_row(kHeads, 14), norm_ = random_row(kInner, 15);
  std::vector<float> a_ = {-0.1f, -0.3f, -0.5f, -1, -2, -4};
};

TEST_F(StateSpaceOps, GiveTheSameBitsForAnyThreadsChunksAndCompany) {
  for (const KvType type : {KvType::kF16, KvType::kF32}) {
    const std::vector<float> alone = run(1, kTokens, std::array{100u}, type);
    EXPECT_THAT(run(3, kTokens, std::array{100u}, type), BitEqual(alone)) << "3 threads";
    for (const Index chunk : {1, 2, 3, 7}) {
      EXPECT_THAT(run(2, chunk, std::array{100u}, type), BitEqual(alone)) << "chunks of " << chunk;
    }
    EXPECT_THAT(run(2, 7, std::array{100u, 200u, 300u}, type), BitEqual(alone)) << "among others";
  }
}

TEST_F(StateSpaceOps, CarryTheStateFromChunkToChunk) {  // negative control
  EXPECT_GE(first_difference(run(1, 7, std::array{100u}), run(1, 7, std::array{104u})), 0);
  EXPECT_GE(first_difference(run(1, kTokens, std::array{100u}, KvType::kF32), run(1, kTokens, std::array{100u})), 0);
}

TEST_F(StateSpaceOps, ScanStepAndGateInOnePassWithTheBitsOfThreePasses) {
  constexpr Index kT = 75, kN = 5;  // more rows than stay in a cache together, and no whole number of them
  const std::vector<float> x = random_row(kT * kInner, 20), z = random_row(kT * kInner, 21);
  const std::vector<float> b = random_row(kT * kN, 22), c = random_row(kT * kN, 23), dt = random_row(kT * kInner, 24);
  const std::vector<float> bias = random_row(kInner, 25), d = random_row(kInner, 26);
  std::vector<float> a = random_row(kInner * kN, 27);
  for (float& value : a) value = -std::abs(value);
  const MatrixView<const float> B(b.data(), kT, kN), C(c.data(), kT, kN), Z(z.data(), kT, kInner);

  const Kernels& kernels = kernels_for(chosen_cpu_path());
  std::vector<float> expected = x, ungated, steps = dt, state(kInner * kN);
  kernels.time_steps(bias.data(), 0.01f, 0.2f, {steps.data(), kT, kInner});
  kernels.mamba_scan({{steps.data(), kT, kInner}, B, C, a.data(), d.data()}, state.data(),
                     {expected.data(), kT, kInner});
  ungated = expected;
  kernels.glu(Activation::kSilu, Z, {expected.data(), kT, kInner}, {expected.data(), kT, kInner});

  const StateLayout layout = {.layers = 1, .channels = kInner, .history = 3, .values = kInner * kN};
  std::vector<BatchRow> rows;
  for (Index t = 0; t < kT; ++t) rows.push_back({0, t});
  std::vector<SequenceRows> room(rows.size());
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const Context context{ledger_, pool, kernels};
    const auto run = [&](MatrixView<const float> gate) {
      std::vector<float> page(layout.page_bytes().size() / 4), own = x, own_steps = dt;
      const std::array<std::byte*, 1> pages = {reinterpret_cast<std::byte*>(page.data())};
      mamba_scan(context, {layout, 0, sequences_of(rows, room), pages},
                 {.dt = {own_steps.data(), kT, kInner},
                  .dt_bias = bias,
                  .lowest = 0.01f,
                  .highest = 0.2f,
                  .b = B,
                  .c = C,
                  .a = a.data(),
                  .d = d.data(),
                  .gate = gate},
                 {own.data(), kT, kInner});
      const auto* left = page.data() + layout.scan_offset(0).count / 4;
      EXPECT_THAT(std::vector<float>(left, left + kInner * kN), BitEqual(state));
      return own;
    };
    EXPECT_THAT(run(Z), BitEqual(expected)) << threads << " threads";
    EXPECT_THAT(run({nullptr, 0, 0}), BitEqual(ungated)) << "no gate";
  }
}

using StateSpaceOpsDeathTest = StateSpaceOps;
TEST_F(StateSpaceOpsDeathTest, RefuseAStateOfAnotherSize) {
  ThreadPool pool(1);
  const Context context{ledger_, pool, kernels_for(chosen_cpu_path())};
  const StateLayout layout = {.layers = 1, .channels = 8, .history = 3, .values = 8 * 16};
  std::vector<float> x(8), b(5);
  const GatedScan scan = {.dt = {x.data(), 1, 8},
                          .dt_bias = x,
                          .lowest = 0,
                          .highest = 1,
                          .b = {b.data(), 1, 5},
                          .c = {b.data(), 1, 5},
                          .a = nullptr,
                          .d = nullptr};
  EXPECT_DEATH(mamba_scan(context, {layout}, scan, {x.data(), 1, 8}), "8 channels of 5, the layout has 128 values");
}

TEST_F(StateSpaceOps, NormalizeEachGroupOnItsOwn) {
  ThreadPool pool(1);
  const Context context{ledger_, pool, kernels_for(chosen_cpu_path())};
  const std::array<float, 4> y = {1, 2, 3, 4}, z = {0.5f, -0.5f, 1, 0}, weight = {1, 1, 2, 2};
  const auto gated = [&](Index groups) {
    std::array<float, 4> x{};
    for (std::size_t i = 0; i < 4; ++i) x[i] = y[i] * z[i] / (1 + std::exp(-z[i]));
    grouped_rms_norm(context, weight, groups, 1e-5f, {x.data(), 1, 4});
    return x;
  };
  const auto near = [](std::array<float, 4> expected) {
    return testing::Pointwise(testing::FloatNear(2e-6f), expected);
  };
  EXPECT_THAT(gated(1), near({0.277006f, -0.336025f, 3.904010f, 0}));
  EXPECT_THAT(gated(2), near({0.899529f, -1.091183f, 2.828421f, 0}));
}

}  // namespace
}  // namespace jericho
