// The choice of experts against worked numbers and against a plain twin in double that sorts, and the products of many
// experts against one product each.
#include "ops/moe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "kernels/matmul_cases.h"
#include "ops/linear.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::FloatNear;

struct Chosen {
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

Chosen choose(const RouterRule& rule, std::vector<float> logits, const std::vector<float>& bias = {}) {
  const auto k = static_cast<std::size_t>(rule.experts_per_token);
  Chosen chosen{std::vector<std::int32_t>(k), std::vector<float>(k)};
  std::vector<float> group_scores(static_cast<std::size_t>(rule.groups));
  route_token(rule, logits, bias, group_scores, chosen.experts, chosen.weights);
  return chosen;
}

TEST(Router, RenormalizesTheWeightsOfTheChosenWhereAsked) {
  RouterRule rule{.experts = 4, .experts_per_token = 2, .normalize = true};
  const Chosen mixtral = choose(rule, {1, 2, 0.5f, 1.5f});
  EXPECT_THAT(mixtral.experts, ElementsAre(1, 3));
  EXPECT_THAT(mixtral.weights, ElementsAre(FloatNear(0.622459f, 1e-6f), FloatNear(0.377541f, 1e-6f)));
  rule.normalize = false;
  const Chosen olmoe = choose(rule, {1, 2, 0.5f, 1.5f});
  EXPECT_THAT(olmoe.experts, ElementsAre(1, 3));
  EXPECT_THAT(olmoe.weights, ElementsAre(FloatNear(0.455054f, 1e-6f), FloatNear(0.276004f, 1e-6f)));
}

const RouterRule kGrouped{.experts = 8,
                          .experts_per_token = 2,
                          .gating = Gating::kSigmoid,
                          .normalize = true,
                          .scale = 2.5f,
                          .groups = 2,
                          .topk_groups = 1,
                          .group_score = GroupScore::kTopTwoSum};
const std::vector<float> kGroupedLogits = {0.2f, -1, 1.2f, 0.1f, 0.9f, 0.8f, -0.3f, 0};
const std::vector<float> kGroupedBias = {0, 0, -0.5f, 0, 0, 0.1f, 0.3f, 0};

TEST(Router, ChoosesFromTheBestGroupsByBiasedScoresAndWeighsByUnbiasedOnes) {
  const Chosen chosen = choose(kGrouped, kGroupedLogits, kGroupedBias);
  EXPECT_THAT(chosen.experts, ElementsAre(5, 6));
  EXPECT_THAT(chosen.weights, ElementsAre(FloatNear(1.546290f, 1e-5f), FloatNear(0.953710f, 1e-5f)));
}

TEST(Router, ScoresAGroupByItsBestWhereThatIsTheRule) {
  RouterRule rule = kGrouped;
  rule.group_score = GroupScore::kMax;
  EXPECT_THAT(choose(rule, {0, 0, 0, 2, 1, 1, 1, 1}).experts, ElementsAre(0, 3));
  rule.group_score = GroupScore::kTopTwoSum;
  EXPECT_THAT(choose(rule, {0, 0, 0, 2, 1, 1, 1, 1}).experts, ElementsAre(4, 5));
}

TEST(Router, NeverLeavesTheKeptGroupsForABiasThatMakesThemNegative) {
  std::vector<float> bias = {-0.2f, -0.2f, -0.2f, -0.2f, 0, -5, -5, -5};
  EXPECT_THAT(choose(kGrouped, {0, 0, 0, 0, 0, 0, 0, 0}, bias).experts, ElementsAre(0, 1));
  bias[4] = 20;
  EXPECT_THAT(choose(kGrouped, {0, 0, 0, 0, 0, 0, 0, 0}, bias).experts, ElementsAre(4, 5));
}

TEST(Router, GivesEqualChoicesToTheLowerIndex) {
  EXPECT_THAT(choose({.experts = 6, .experts_per_token = 3}, {1, 2, 1, 2, 1, 2}).experts, ElementsAre(1, 3, 5));
  EXPECT_THAT(choose({.experts = 6, .experts_per_token = 4}, {1, 2, 1, 2, 1, 2}).experts, ElementsAre(0, 1, 3, 5));
  RouterRule rule = kGrouped;
  rule.groups = 4;
  rule.topk_groups = 2;
  EXPECT_THAT(choose(rule, std::vector<float>(8, 0.25f)).experts, ElementsAre(0, 1));
}

TEST(Router, ChoosesSomethingWhateverTheNumbers) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid}) {
    RouterRule rule = kGrouped;
    rule.gating = gating;
    const Chosen chosen = choose(rule, std::vector<float>(8, kNan));
    EXPECT_THAT(chosen.experts, ElementsAre(0, 1));
    EXPECT_TRUE(std::isnan(chosen.weights[0]) && std::isnan(chosen.weights[1]));
    EXPECT_THAT(choose(rule, {0, kInf, 0, 0, 0, 0, 0, 0}, {0, 0, kNan, kInf, -kInf, kInf, -kInf, 0}).experts,
                testing::SizeIs(2));
  }
  const Chosen vanishing = choose(kGrouped, std::vector<float>(8, -100));
  EXPECT_THAT(vanishing.weights, ElementsAre(0, 0));
}

// The twin: scores in double, stable sorts. Choices nearer to one another than fp32 tells apart are not drawn.
Chosen choose_in_double(const RouterRule& rule, const std::vector<float>& logits, const std::vector<float>& bias) {
  const std::size_t E = logits.size(), G = static_cast<std::size_t>(rule.groups), members = E / G;
  std::vector<double> scores(E), choices(E);
  double total = 0;
  for (const float logit : logits) total += std::exp(double{logit});
  for (std::size_t e = 0; e < E; ++e) {
    scores[e] =
        rule.gating == Gating::kSoftmax ? std::exp(double{logits[e]}) / total : 1 / (1 + std::exp(-double{logits[e]}));
    choices[e] = scores[e] + (bias.empty() ? 0 : double{bias[e]});
  }
  const auto best_first = [](const std::vector<double>& values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] > values[b]; });
    return order;
  };
  std::vector<double> group_scores;
  for (std::size_t g = 0; g < G; ++g) {
    std::vector<double> own(choices.begin() + g * members, choices.begin() + (g + 1) * members);
    std::sort(own.rbegin(), own.rend());
    group_scores.push_back(rule.group_score == GroupScore::kMax || members == 1 ? own[0] : own[0] + own[1]);
  }
  const auto groups = best_first(group_scores);
  for (std::size_t i = static_cast<std::size_t>(rule.topk_groups); i < G; ++i)
    std::fill_n(choices.begin() + groups[i] * members, members, -std::numeric_limits<double>::infinity());
  auto chosen = best_first(choices);
  chosen.resize(static_cast<std::size_t>(rule.experts_per_token));
  std::sort(chosen.begin(), chosen.end());
  double sum = 0;
  for (const std::size_t e : chosen) sum += scores[e];
  Chosen result;
  for (const std::size_t e : chosen) {
    result.experts.push_back(static_cast<std::int32_t>(e));
    result.weights.push_back(static_cast<float>((rule.normalize ? scores[e] / sum : scores[e]) * double{rule.scale}));
  }
  return result;
}

TEST(Router, IsTheDoubleTwinForManyRules) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-3, 3);
  for (const Index E : {8, 60, 64, 128, 256}) {
    for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid}) {
      for (const GroupScore score : {GroupScore::kMax, GroupScore::kTopTwoSum}) {
        for (const Index groups : {1, 4}) {
          const RouterRule rule{.experts = E,
                                .experts_per_token = 4,
                                .gating = gating,
                                .normalize = groups == 4,
                                .scale = 1.5f,
                                .groups = groups,
                                .topk_groups = (groups + 1) / 2,
                                .group_score = score};
          std::vector<float> logits(static_cast<std::size_t>(E)), bias;
          for (float& logit : logits) logit = uniform(random);
          if (gating == Gating::kSigmoid) {
            bias = logits;
            for (float& b : bias) b = uniform(random) / 10;
          }
          const Chosen actual = choose(rule, logits, bias), expected = choose_in_double(rule, logits, bias);
          ASSERT_EQ(actual.experts, expected.experts) << E << " experts, " << groups << " groups";
          for (std::size_t j = 0; j < actual.weights.size(); ++j)
            ASSERT_NEAR(actual.weights[j], expected.weights[j], 1e-6f * std::abs(expected.weights[j]));
        }
      }
    }
  }
}

class MoeOps : public testing::TestWithParam<int> {  // threads
 protected:
  void SetUp() override { flush_subnormals(); }
  Ledger ledger_{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool_{GetParam()};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
};

INSTANTIATE_TEST_SUITE_P(, MoeOps, testing::Values(1, 2, 5),
                         [](const auto& threads) { return std::to_string(threads.param) + "_threads"; });

TEST_P(MoeOps, RouteTreatsEveryTokenOnItsOwn) {
  constexpr Index T = 37;
  const std::vector<float> logits = random_row(T * 8, 3);
  std::vector<float> scores = logits, group_scores(T * 2), weights(T * 2);
  std::vector<std::int32_t> experts(T * 2);
  route(context_, kGrouped, {scores.data(), T, 8}, kGroupedBias, {group_scores.data(), T, 2},
        {{experts.data(), T, 2}, {weights.data(), T, 2}});
  for (Index t = 0; t < T; ++t) {
    const Chosen alone = choose(kGrouped, {logits.begin() + t * 8, logits.begin() + (t + 1) * 8}, kGroupedBias);
    EXPECT_THAT(std::span(experts).subspan(static_cast<std::size_t>(2 * t), 2),
                testing::ElementsAreArray(alone.experts));
    EXPECT_THAT(std::span<const float>(weights).subspan(static_cast<std::size_t>(2 * t), 2), BitEqual(alone.weights));
  }
}

TEST_P(MoeOps, AddsTheRowsThatItIsGivenInTheOrderOfTheExperts) {
  // Two tokens with two experts each: rows 0 to 3, of which rows 1 and 2 arrive first, then 3, then 0.
  std::vector<float> weights = {0.5f, 2, 3, 0.25f}, rows = {1, 10, 2, 20, 4, 40, 8, 80};
  std::vector<std::int32_t> places = {0, 2, 1, 3};
  std::vector<float> out = {0, 0, 100, 0};
  const MatrixView<const float> all(rows.data(), 4, 2), w(weights.data(), 2, 2);
  const MatrixView<const std::int32_t> where(places.data(), 2, 2);
  const MatrixView<float> sum(out.data(), 2, 2);
  add_expert_rows(context_, w, where, 1, all.rows(1, 2), sum);
  EXPECT_THAT(out, ElementsAre(8, 80, 106, 60));
  add_expert_rows(context_, w, where, 3, all.rows(3, 1), sum);
  add_expert_rows(context_, w, where, 0, all.rows(0, 1), sum);
  EXPECT_THAT(out, ElementsAre(8.5f, 85, 108, 80));
}

TEST_P(MoeOps, ManyProductsAtOnceAreEachProductAlone) {
  constexpr Index K = 256, kRows = 9;
  const std::vector<float> x = random_row(kRows * K, 2);
  std::vector<std::int32_t> orders[2];
  for (Index k = 0; k < K; ++k) {
    orders[0].push_back(static_cast<std::int32_t>(k * 37 % K));
    orders[1].push_back(static_cast<std::int32_t>(K - 1 - k));
  }
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ6_K}) {
    ActivationForms forms;
    forms.add(dtype);
    const bool with_orders = dtype == DType::kQ4_0;
    if (with_orders) forms.add_ordered(dtype);
    const auto input_of = [&](MatrixView<const float> rows, std::vector<std::byte>& memory) {
      ScratchSize size;
      static_cast<void>(LinearBuffers::take(size, forms, rows.extent(0), K));
      memory.resize(size.peak().size() + 64);
      const std::size_t off = reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
      const std::span<std::byte> bytes(memory);
      Scratch scratch(bytes.subspan((64 - off) % 64));
      return LinearInput(context_, rows, forms, LinearBuffers::take(scratch, forms, rows.extent(0), K));
    };
    const std::vector<Index> first = {0, 4, 4, 5}, count = {4, 1, 1, 4}, outputs = {40, 16, 5, 100};
    std::vector<CaseMatrix> weights;
    for (std::size_t i = 0; i < first.size(); ++i) weights.emplace_back(dtype, outputs[i], K, static_cast<unsigned>(i));
    std::vector<std::byte> memory;
    const MatrixView<const float> all(x.data(), kRows, K);
    const LinearInput input = input_of(all, memory);
    std::vector<std::vector<float>> results;
    std::vector<LinearTask> tasks;
    for (std::size_t i = 0; i < first.size(); ++i) results.emplace_back(count[i] * outputs[i]);
    std::vector<PackedMatrix> views;
    for (const CaseMatrix& w : weights) views.push_back(w.view);
    for (std::size_t i = 1; i < 3 && with_orders; ++i) views[i].input_order = orders[i - 1];  // of the same row
    for (std::size_t i = 0; i < first.size(); ++i)
      tasks.push_back({&views[i], first[i], {results[i].data(), count[i], outputs[i]}});
    linear_each(context_, tasks, input);
    for (std::size_t i = 0; i < first.size(); ++i) {
      std::vector<std::byte> own;
      std::vector<float> alone(results[i].size());
      linear(context_, views[i], input_of(all.rows(first[i], count[i]), own), {}, {alone.data(), count[i], outputs[i]});
      EXPECT_THAT(results[i], BitEqual(alone)) << name(dtype) << ", product " << i;
    }
  }
  linear_each(context_, {}, LinearInput(context_, MatrixView<const float>(x.data(), 1, K), {}, {}));
}

TEST_P(MoeOps, AProductAmongManyHasItsBiasAndItsFactor) {
  constexpr Index K = 64, T = 3, N = 50;
  const std::vector<float> x = random_row(T * K, 5), bias = random_row(N, 6);
  const CaseMatrix a(DType::kF32, N, K, 1), b(DType::kF32, N, K, 2);
  ActivationForms forms;
  forms.add(DType::kF32);
  const LinearInput input(context_, MatrixView<const float>(x.data(), T, K), forms, {});
  std::vector<float> plain(T * N), changed(T * N), other(T * N);
  linear(context_, a.view, input, {}, {plain.data(), T, N});
  const std::array<LinearTask, 2> tasks = {
      {{&b.view, 0, {other.data(), T, N}}, {&a.view, 0, {changed.data(), T, N}, bias, 0.3f}}};
  linear_each(context_, tasks, input);
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = (plain[i] + bias[i % N]) * 0.3f;
  EXPECT_THAT(changed, BitEqual(plain));
}

TEST_P(MoeOps, GatedProductsAreTheirProductsThenTheGate) {
  constexpr Index K = 256, kRows = 6;
  const std::vector<float> x = random_row(kRows * K, 2);
  std::vector<std::int32_t> order;
  for (Index k = 0; k < K; ++k) order.push_back(static_cast<std::int32_t>(k * 37 % K));
  ActivationForms forms;
  forms.add(DType::kQ4_0);
  forms.add(DType::kF32);
  forms.add_ordered(DType::kQ4_0);
  ScratchSize size;
  static_cast<void>(LinearBuffers::take(size, forms, kRows, K));
  std::vector<std::byte> memory(size.peak().size() + 64);
  const std::size_t off = reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
  const std::span<std::byte> bytes(memory);
  Scratch scratch(bytes.subspan((64 - off) % 64));
  const LinearInput input(context_, MatrixView<const float>(x.data(), kRows, K), forms,
                          LinearBuffers::take(scratch, forms, kRows, K));
  struct Case {  // rows [first, first + count) with `outputs` gates
    Index first, count, outputs;
    DType gate, up;
    bool ordered_gate, ordered_up;
  };
  const std::array<Case, 4> cases = {{{0, 4, 200, DType::kQ4_0, DType::kQ4_0, false, false},
                                      {4, 1, 37, DType::kQ4_0, DType::kF32, false, false},
                                      {0, 6, 40, DType::kF32, DType::kQ4_0, false, true},
                                      {2, 4, 16, DType::kQ4_0, DType::kQ4_0, true, true}}};
  std::vector<CaseMatrix> weights;
  std::vector<PackedMatrix> views;
  std::vector<std::vector<float>> gates, ups;
  for (const Case& c : cases) {
    weights.emplace_back(c.gate, c.outputs, K, static_cast<unsigned>(weights.size()));
    weights.emplace_back(c.up, c.outputs, K, static_cast<unsigned>(weights.size()));
    for (int i = 0; i < 2; ++i) (i == 0 ? gates : ups).emplace_back(c.count * c.outputs);
  }
  for (const CaseMatrix& w : weights) views.push_back(w.view);
  std::vector<GatedTask> tasks;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    if (c.ordered_gate) views[2 * i].input_order = order;
    if (c.ordered_up) views[2 * i + 1].input_order = order;
    const auto rows = [&](std::vector<float>& y) { return MatrixView<float>(y.data(), c.count, c.outputs); };
    tasks.push_back({{&views[2 * i], c.first, rows(gates[i]), {}, 0.5f}, {&views[2 * i + 1], c.first, rows(ups[i])}});
  }
  linear_gated(context_, Activation::kSilu, tasks, input);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::vector<float> gate(gates[i].size()), up(gate.size());
    LinearTask task = tasks[i].gate;
    task.y = {gate.data(), cases[i].count, cases[i].outputs};
    linear_each(context_, {&task, 1}, input);
    task = tasks[i].up;
    task.y = {up.data(), cases[i].count, cases[i].outputs};
    linear_each(context_, {&task, 1}, input);
    const MatrixView<float> y(gate.data(), cases[i].count, cases[i].outputs);
    ref::glu(Activation::kSilu, y, {up.data(), cases[i].count, cases[i].outputs}, y);
    EXPECT_THAT(gates[i], BitEqual(gate)) << "product " << i;
  }
}

TEST_P(MoeOps, RowsMadeOnTheWayAreConvertedAsTheyBecame) {
  constexpr Index K = 96, T = 5;
  const std::vector<float> values = random_row(T * K, 7);
  std::vector<float> x(values.size(), 9.0f);
  ActivationForms forms;
  forms.add(DType::kBF16);
  std::vector<BF16> made(T * K), expected(T * K);
  LinearBuffers buffers;
  buffers.bf16 = made;
  const MatrixView<const float> rows(x.data(), T, K);
  const auto make = [&](Index t) { std::copy_n(values.data() + t * K, K, x.data() + t * K); };
  const LinearInput input(context_, rows, forms, buffers, make);
  ref::round_bf16(values.data(), T * K, T * K, expected.data());
  EXPECT_EQ(std::memcmp(made.data(), expected.data(), made.size() * sizeof(BF16)), 0);
  EXPECT_THAT(x, BitEqual(values));  // also where no form asks for a conversion
  std::fill(x.begin(), x.end(), 9.0f);
  static_cast<void>(LinearInput(context_, rows, {}, {}, make));
  EXPECT_THAT(x, BitEqual(values));
}

}  // namespace
}  // namespace jericho
