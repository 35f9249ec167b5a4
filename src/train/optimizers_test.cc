// Each rule against worked steps in double, and what every rule promises: the same bits for any number of threads.
#include "train/optimizers.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "train/optimizers/dynamic_map.h"
#include "train/optimizers/four_bits.h"
#include "train/optimizers/projection.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

struct Machine {
  explicit Machine(int threads) : pool(threads), context{ledger, pool, kernels_for(chosen_cpu_path())} {
    flush_subnormals();
  }
  Ledger ledger{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool;
  Context context;
};

// A weight with its state, moved by one rule.
class Trained {
 public:
  Trained(const OptimizerOptions& options, const TrainedShape& shape, std::vector<float> weight, int threads = 2)
      : Trained(make_optimizer(options, shape), std::move(weight), threads) {}
  Trained(std::unique_ptr<Optimizer> optimizer, std::vector<float> weight, int threads = 2)
      : machine_(threads), optimizer_(std::move(optimizer)), weight_(std::move(weight)) {
    state_.resize(optimizer_->state_bytes().size() + 64);
    scratch_.resize(optimizer_->scratch_bytes(threads).size() + 64);
    optimizer_->start(state());
  }
  void step(std::vector<float> gradient, float learning_rate) {
    const TrainedShape& s = optimizer_->shape();
    Scratch scratch(aligned(scratch_));
    const UpdateStep update = {.number = ++number_, .learning_rate = learning_rate, .key = {1, 0}};
    optimizer_->step(machine_.context, update, {weight_.data(), s.rows, s.cols}, {gradient.data(), s.rows, s.cols},
                     state(), scratch);
  }
  [[nodiscard]] const std::vector<float>& weight() const { return weight_; }
  [[nodiscard]] std::vector<float> state_part(std::size_t index) {
    const std::vector<StatePart> parts = optimizer_->state_parts();
    const auto* values = reinterpret_cast<const float*>(state().data() + part_offsets(parts)[index].size());
    return {values, values + parts[index].size()};
  }

 private:
  static std::span<std::byte> aligned(std::vector<std::byte>& bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
    return std::span(bytes).subspan((64 - address % 64) % 64, bytes.size() - 64);
  }
  std::span<std::byte> state() { return aligned(state_); }

  Machine machine_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<float> weight_;
  std::vector<std::byte> state_, scratch_;
  std::int64_t number_ = 0;
};

void expect_near(const std::vector<float>& actual, const std::vector<double>& expected, double relative = 1e-6) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], relative * std::abs(expected[i])) << "element " << i;
  }
}

TrainedShape three_values() { return {.name = "w", .rows = 1, .cols = 3}; }

TEST(AdamW, MovesAWeightAsTheWorkedExample) {
  const OptimizerOptions options = {.beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.01f};
  Trained w(options, three_values(), {1, -2, 0.5f});
  w.step({0.1f, -0.2f, 0.3f}, 0.1f);
  expect_near(w.weight(), {0.89900001, -1.898, 0.399500003});
  w.step({0.05f, 0.1f, -0.3f}, 0.1f);
  expect_near(w.weight(), {0.804883058, -1.8694683, 0.404363661});
  expect_near(w.state_part(0), {0.014, -0.008, -0.003});
  // 1 - 0.999 in fp32 is 1.3e-5 off, relative.
  const std::vector<double> v = {1.249e-5, 4.996e-5, 1.7991e-4};
  for (std::size_t i = 0; i < v.size(); ++i) EXPECT_NEAR(w.state_part(1)[i], v[i], 2e-5 * v[i]);
}

TEST(AdamW, DecaysMatricesButNoVectors) {
  const OptimizerOptions options = {.weight_decay = 0.5f};
  TrainedShape vector = three_values();
  vector.role = TensorRole::kVector;
  Trained matrix(options, three_values(), {1, 1, 1}), norm(options, vector, {1, 1, 1});
  matrix.step({0, 0, 0}, 0.1f);
  norm.step({0, 0, 0}, 0.1f);
  EXPECT_THAT(matrix.weight(), testing::Each(testing::FloatEq(0.95f)));
  EXPECT_THAT(norm.weight(), testing::Each(1.0f));
}

TEST(AdamWHf, MovesAWeightAsTheWorkedExample) {
  OptimizerOptions options = default_options("adamw-hf");
  options.weight_decay = 0.01f;
  Trained w(options, three_values(), {1, -2, 0.5f});
  w.step({0.1f, -0.2f, 0.3f}, 0.1f);
  expect_near(w.weight(), {0.899131581, -1.89811579, 0.399610529});
  w.step({0.05f, 0.1f, -0.3f}, 0.1f);
  expect_near(w.weight(), {0.805134046, -1.86961437, 0.404468422});
}

TEST(Lion, MovesAWeightAsTheWorkedExample) {
  OptimizerOptions options = default_options("lion");
  options.weight_decay = 0.1f;
  Trained w(options, three_values(), {1, -2, 0.5f});
  w.step({0.1f, -0.2f, 0.3f}, 0.01f);
  expect_near(w.weight(), {0.989, -1.988, 0.4895});
  w.step({0.05f, 0.1f, -0.3f}, 0.01f);
  expect_near(w.weight(), {0.978011, -1.996012, 0.4990105});
  expect_near(w.state_part(0), {0.00149, -0.00098, -3e-5}, 1e-5);  // 1 - 0.99 in fp32
}

TEST(Sgd, MovesAWeightAsTheWorkedExample) {
  OptimizerOptions options = default_options("sgd");
  Trained plain(options, three_values(), {1, -2, 0.5f});
  options.nesterov = true;
  Trained nesterov(options, three_values(), {1, -2, 0.5f});
  for (Trained* w : {&plain, &nesterov}) {
    w->step({0.1f, -0.2f, 0.3f}, 0.1f);
    w->step({0.05f, 0.1f, -0.3f}, 0.1f);
  }
  expect_near(plain.weight(), {0.976, -1.972, 0.473});
  expect_near(nesterov.weight(), {0.9634, -1.9648, 0.4757});
}

TEST(Sgd, KeepsNothingWithoutMomentum) {
  OptimizerOptions options = default_options("sgd");
  options.momentum = 0;
  Trained w(options, three_values(), {1, -2, 0.5f});
  w.step({0.1f, -0.2f, 0.3f}, 0.1f);
  expect_near(w.weight(), {0.99, -1.98, 0.47});
  EXPECT_EQ(make_optimizer(options, three_values())->state_bytes(), 0_B);
}

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6}, kG1 = {0.1f, -0.2f, 0.3f, 0.4f, 0.5f, -0.6f},
                         kG2 = {0.2f, 0.1f, -0.1f, -0.3f, 0.2f, 0.5f}, kG3 = {2, 1, -1, -3, 2, 5};
TrainedShape two_by_three() { return {.name = "w", .rows = 2, .cols = 3}; }

TEST(Adafactor, MovesAWeightAsTheWorkedExample) {
  OptimizerOptions options = default_options("adafactor");
  options.scale_parameter = false;
  Trained w(options, two_by_three(), kSix);
  w.step(kG1, 0.01f);
  expect_near(w.state_part(0), {0.0466666667, 0.256666667});
  expect_near(w.state_part(1), {0.085, 0.145, 0.225});
  expect_near(w.weight(), {0.993816531, 2.00946864, 2.98859825, 3.98945344, 4.98990639, 6.00972345});
  w.step({0.05f, -0.1f, 0.15f, -0.1f, 0.15f, -0.2f}, 0.01f);
  expect_near(w.state_part(0), {0.0265644455, 0.123130483});
  expect_near(w.state_part(1), {0.0397700023, 0.0710525434, 0.113719847});
  expect_near(w.weight(), {0.989608001, 2.01576585, 2.98113185, 3.993363, 4.98551899, 6.01434745});
}

TEST(Adafactor, FollowsTheSizeOfTheWeightWhereAsked) {
  OptimizerOptions options = default_options("adafactor");
  Trained scaled(options, two_by_three(), kSix);
  options.scale_parameter = false;
  Trained plain(options, two_by_three(), kSix);
  scaled.step(kG1, 0.01f);
  plain.step(kG1, 0.01f);
  const double rms = std::sqrt(91.0 / 6);
  for (std::size_t i = 0; i < kSix.size(); ++i)
    EXPECT_NEAR(scaled.weight()[i] - kSix[i], rms * (plain.weight()[i] - kSix[i]), 2e-6);
}

// One step from zero at rate 1 shows minus the orthogonalised momentum.
std::vector<float> muon_step(const TrainedShape& shape, const std::vector<float>& gradient) {
  Trained w(default_options("muon"), shape, std::vector<float>(gradient.size()));
  w.step(gradient, 1);
  std::vector<float> o = w.weight();
  for (float& value : o) value = -value;
  return o;
}

TEST(Muon, BringsSingularValuesNearOneAsTheWorkedExample) {
  expect_near(muon_step(two_by_three(), kG1),
              {0.515021591, -0.21847116, 0.421349666, 0.468156629, 0.382302781, -0.421306168}, 2e-5);
  const std::vector<float> diagonal = muon_step({.name = "w", .rows = 2, .cols = 2}, {1, 0, 0, 0.5f});
  EXPECT_NEAR(diagonal[0], 0.688762945, 1e-5);
  EXPECT_NEAR(diagonal[3], 1.11416412, 1e-5);
}

TEST(Muon, TurnsAMatrixThatIsTallAndScalesItBySqrtOfItsShape) {
  const std::vector<float> tall =
      muon_step({.name = "w", .rows = 3, .cols = 2}, {0.1f, 0.4f, -0.2f, 0.5f, 0.3f, -0.6f});
  const double factor = std::sqrt(1.5);
  expect_near(tall,
              {factor * 0.515021591, factor * 0.468156629, factor * -0.21847116, factor * 0.382302781,
               factor * 0.421349666, factor * -0.421306168},
              2e-5);
}

TEST(Muon, LeavesEmbeddingsAndNormsToAdamWAtItsRate) {
  TrainedShape shape = two_by_three();
  shape.role = TensorRole::kEmbedding;
  Trained w(default_options("muon"), shape, kSix);
  OptimizerOptions adamw = default_options("adamw");
  adamw.weight_decay = 0;
  Trained expected(adamw, shape, kSix);
  w.step(kG1, 0.02f);
  expected.step(kG1, 0.02f * 0.015f);
  EXPECT_EQ(w.weight(), expected.weight());
}

TEST(AdamMini, KeepsOneSecondMomentForEachRowOrHead) {
  const OptimizerOptions options = default_options("adam-mini");
  TrainedShape shape = {.name = "q_proj.weight", .rows = 4, .cols = 3};
  EXPECT_EQ(make_optimizer(options, shape)->state_parts()[1].size(), 4);
  shape.head_rows = 2;
  EXPECT_EQ(make_optimizer(options, shape)->state_parts()[1].size(), 2);
  const TrainedShape norm = {.name = "norm.weight", .cols = 5, .role = TensorRole::kVector};
  EXPECT_EQ(make_optimizer(options, norm)->state_parts()[1].size(), 1);
  const TrainedShape bias = {.name = "q_proj.bias", .cols = 5, .role = TensorRole::kVector};
  EXPECT_EQ(make_optimizer(options, bias)->state_parts()[1].size(), 5);
}

TEST(AdamMini, StepsByTheMeanSquareOfABlock) {
  OptimizerOptions options = default_options("adam-mini");
  options.weight_decay = 0;
  Trained w(options, two_by_three(), kSix);
  w.step(kG1, 0.1f);
  // The first step of Adam divides by the root of what it has just seen.
  const double first = std::sqrt(0.14 / 3), second = std::sqrt(0.77 / 3);
  expect_near(w.weight(), {1 - 0.1 * 0.1 / first, 2 + 0.1 * 0.2 / first, 3 - 0.1 * 0.3 / first, 4 - 0.1 * 0.4 / second,
                           5 - 0.1 * 0.5 / second, 6 + 0.1 * 0.6 / second});
}

TEST(GaLore, MovesAWeightAlongItsLeadingSingularVectorAsTheWorkedExample) {
  OptimizerOptions options = default_options("galore");
  options.rank = 1;
  Trained w(options, two_by_three(), std::vector<float>(6));
  w.step({3, 0, 0, 0, 1, 0}, 0.01f);
  const std::vector<float> moved = w.weight();
  EXPECT_NEAR(moved[0], -0.00249997365, 2e-9);
  for (std::size_t i = 1; i < 6; ++i) EXPECT_EQ(moved[i], 0) << i;
}

TEST(GaLore, IsAdamWhereItKeepsAllOfTheGradientOfADiagonal) {
  OptimizerOptions options = default_options("galore");
  options.rank = 2;
  options.scale = 1;
  const TrainedShape square = {.name = "w", .rows = 2, .cols = 2};
  Trained w(options, square, {1, 2, 3, 4}), adam(default_options("adamw-hf"), square, {1, 2, 3, 4});
  for (int i = 0; i < 3; ++i) {
    w.step({3, 0, 0, 1}, 0.01f);
    adam.step({3, 0, 0, 1}, 0.01f);
  }
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(w.weight()[i], adam.weight()[i], 1e-6);
}

TEST(GaLore, TakesNewVectorsOnlyWhenItsTimeHasCome) {
  OptimizerOptions options = default_options("galore");
  options.rank = 1;
  options.refresh = 2;
  Trained w(options, two_by_three(), kSix);
  w.step({3, 0, 0, 0, 1, 0}, 0.01f);
  const std::vector<float> first = w.state_part(2);
  w.step({0, 1, 0, 3, 0, 0}, 0.01f);
  EXPECT_EQ(w.state_part(2), first);
  w.step({0, 1, 0, 3, 0, 0}, 0.01f);
  EXPECT_NE(w.state_part(2), first);
}

Trained apollo(const OptimizerOptions& options, const TrainedShape& shape, const std::vector<float>& weight) {
  const auto given = [](const Context&, PhiloxKey, std::uint32_t, MatrixView<float> basis) {
    basis.data()[0] = 0.5f, basis.data()[1] = -1;
  };
  return Trained(make_apollo_on(options, shape, given), weight);
}
OptimizerOptions rank_one(float weight_decay = 0) {
  OptimizerOptions options = default_options("apollo");
  options.rank = 1;
  options.weight_decay = weight_decay;
  return options;
}

TEST(FourBits, RoundAGroupAsTheWorkedExample) {
  // The range is 0.15 wide: a unit is 0.01, and zero the code 5.
  const std::vector<float> x = {-0.05f, 0.1f, 0.004f, 0.006f, 0.0f, -0.021f, 0.099f};
  std::vector<std::uint8_t> codes(4), zeros(1);
  std::vector<float> scales(1), back(x.size());
  to_four_bits(x, {codes, scales, zeros});
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{0xf0, 0x65, 0x35, 0x0f}));
  EXPECT_EQ(zeros, (std::vector<std::uint8_t>{5}));
  from_four_bits({codes, scales, zeros}, back);
  expect_near(back, {-0.05, 0.1, 0, 0.01, 0, -0.02, 0.1});
}

TEST(FourBits, KeepAGroupOnOneSideOfZero) {
  const std::vector<float> x = {0.5f, 0.6f, 0.55f};
  std::vector<std::uint8_t> codes(2), zeros(1);
  std::vector<float> scales(1), back(3);
  to_four_bits(x, {codes, scales, zeros});
  from_four_bits({codes, scales, zeros}, back);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(back[i], x[i], 0.6 / 30);  // half a unit
}

TEST(QGaLore, StepsAsGaLoreOnVectorsThatFourBitsHold) {
  // The leading vector of a diagonal is an axis: 0 and 1 are codes.
  OptimizerOptions exact = default_options("galore"), four = default_options("q-galore");
  exact.rank = four.rank = 1;
  const TrainedShape shape = {.rows = 2, .cols = 3};
  const std::vector<float> start = {1, 2, 3, 4, 5, 6};
  Trained a(exact, shape, start), b(four, shape, start);
  for (Trained* each : {&a, &b}) each->step({3, 0, 0, 0, 1, 0}, 0.01f);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(a.weight()[i], b.weight()[i], 1e-6);
}

TEST(QGaLore, LooksForVectorsMoreSeldomWhereTheyStay) {
  OptimizerOptions options = default_options("q-galore");
  options.rank = 1;
  options.refresh = 2;
  Trained stays(options, {.rows = 2, .cols = 2}, {1, 1, 1, 1}), turns(options, {.rows = 2, .cols = 2}, {1, 1, 1, 1});
  for (int step = 0; step < 13; ++step) {
    const bool odd = step / 2 % 2 == 1;
    stays.step({3, 0, 0, 1}, 0.01f);
    turns.step(odd ? std::vector<float>{1, 0, 0, 3} : std::vector<float>{3, 0, 0, 1}, 0.01f);
  }
  // Found at steps 1, 3, 5, 7, 9, 11: five turns, after which four steps lie between.
  EXPECT_EQ(stays.state_part(5)[0], 4);
  EXPECT_EQ(turns.state_part(5)[0], 2);
}

TEST(Apollo, ScalesChannelsAsTheWorkedExample) {
  Trained w = apollo(rank_one(), two_by_three(), kSix);
  w.step(kG1, 0.01f);
  expect_near(w.weight(), {0.997143115, 2.00333316, 2.99600017, 3.98857246, 4.99166711, 6.00799966});
  w.step(kG2, 0.01f);
  expect_near(w.weight(), {0.996548, 1.99779612, 2.99618206, 3.98946513, 4.98059304, 6.00709019});
}

TEST(Apollo, ScalesRowsWhereTheMatrixIsTall) {
  const auto turned = [](const std::vector<float>& x) {
    return std::vector<float>{x[0], x[3], x[1], x[4], x[2], x[5]};
  };
  Trained wide = apollo(rank_one(), two_by_three(), kSix);
  Trained tall = apollo(rank_one(), {.name = "w", .rows = 3, .cols = 2}, turned(kSix));
  for (const auto& gradient : {kG1, kG2}) {
    wide.step(gradient, 0.01f);
    tall.step(turned(gradient), 0.01f);
  }
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(tall.weight()[i], turned(wide.weight())[i], 1e-6);
}

TEST(Apollo, LetsTheNormOfTheUpdateGrowByOnePercentOnly) {
  Trained w = apollo(rank_one(0.01f), two_by_three(), kSix);
  w.step(kG1, 0.01f);
  expect_near(w.weight(), {0.997043401, 2.00313282, 2.99570057, 3.9881736, 4.99116794, 6.00739886});
  w.step(kG3, 0.01f);
  expect_near(w.weight(), {0.994242392, 1.99797659, 2.99633137, 3.99182674, 4.98075698, 6.00214626});
}

TEST(Apollo, DoesNotTakeAStepWithoutGradientForItsNorm) {
  Trained w = apollo(rank_one(), two_by_three(), kSix), other = apollo(rank_one(), two_by_three(), kSix);
  w.step(kG1, 0.01f);
  const std::vector<float> norm = w.state_part(2);
  w.step(std::vector<float>(6), 0.01f);
  EXPECT_EQ(w.state_part(2), norm);
  other.step(std::vector<float>(6), 0.01f);
  EXPECT_EQ(other.weight(), kSix);
  EXPECT_EQ(other.state_part(2), std::vector<float>{-1});
}

TEST(ApolloMini, ScalesTheWholeTensorAsTheWorkedExample) {
  const OptimizerOptions options = default_options("apollo-mini");
  OptimizerOptions mini = options;
  mini.one_factor = true;
  Trained w = apollo(mini, two_by_three(), kSix);
  w.step(kG1, 0.01f);
  const std::vector<double> first = {0.98083183, 2.03833634, 2.94249549, 3.92332732, 4.90415915, 6.11500902};
  expect_near(w.weight(), first);
  Trained jumps = apollo(mini, two_by_three(), kSix);
  jumps.step(kG1, 0.01f);
  w.step(kG2, 0.01f);
  expect_near(w.weight(), {0.953377418, 2.02460913, 2.9562227, 3.96450894, 4.87670474, 6.04637299});
  jumps.step(kG3, 0.01f);
  expect_near(jumps.weight(), {0.939395701, 2.01761828, 2.96321355, 3.98548151, 4.86272302, 6.0114187});
}

TEST(Apollo, DrawsTheNormalsOfItsKeyAndRefresh) {
  Machine machine(2);
  std::vector<float> values(8), again(8);
  random_basis(machine.context, {1, 0}, 0, {values.data(), 1, 8});
  // Purpose 4 in the counter; the specification's example has purpose 0.
  random_basis(machine.context, {1, 0}, 0, {again.data(), 1, 8});
  EXPECT_EQ(values, again);
  random_basis(machine.context, {1, 0}, 1, {again.data(), 1, 8});
  EXPECT_NE(values, again);
  std::vector<float> many(4 * 4096);
  random_basis(machine.context, {7, 3}, 0, {many.data(), 4, 4096});
  double mean = 0, square = 0;
  for (const float x : many) mean += static_cast<double>(x), square += static_cast<double>(x) * static_cast<double>(x);
  const auto n = static_cast<double>(many.size());
  EXPECT_NEAR(mean / n, 0, 5 * 0.5 / std::sqrt(n));
  EXPECT_NEAR(square / n, 0.25, 5 * 0.25 * std::sqrt(2 / n));  // normals over sqrt(4)
}

TEST(DynamicMap, HasTheValuesOfTheReference) {
  const auto& with_sign = dynamic_values(DynamicMap::kSigned);
  const auto& without = dynamic_values(DynamicMap::kUnsigned);
  EXPECT_FLOAT_EQ(with_sign[0], -0.99296875f);
  EXPECT_EQ(with_sign[127], 0);
  EXPECT_FLOAT_EQ(with_sign[128], 5.5e-7f);
  EXPECT_EQ(with_sign[255], 1);
  EXPECT_EQ(without[0], 0);
  EXPECT_FLOAT_EQ(without[1], 3.25e-7f);
  EXPECT_FLOAT_EQ(without[2], 7.75e-7f);
  EXPECT_FLOAT_EQ(without[3], 2.125e-6f);
  EXPECT_FLOAT_EQ(without[254], 0.996484375f);
  EXPECT_EQ(without[255], 1);
}

TEST(DynamicMap, QuantizesABlockAsTheWorkedExample) {
  const std::vector<float> x = {0.02f, -0.01f, 0.005f, 0, 1e-4f, -0.02f, 0.013f, 1e-6f};
  std::vector<std::uint8_t> codes(8);
  EXPECT_EQ(quantize_block(DynamicMap::kSigned, x, false, codes.data()), 0.02f);
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{255, 35, 201, 127, 150, 0, 230, 132}));
  std::vector<float> back(8);
  dequantize_block(DynamicMap::kSigned, codes.data(), 0.02f, back);
  expect_near({back.begin(), back.begin() + 3}, {0.02, -0.010015625, 0.004953125});
  std::vector<float> squares;
  for (const float value : x) squares.push_back(value * value);
  EXPECT_EQ(quantize_block(DynamicMap::kUnsigned, squares, false, codes.data()), 4e-4f);
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{255, 148, 100, 0, 8, 255, 172, 0}));
  quantize_block(DynamicMap::kUnsigned, squares, true, codes.data());
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{255, 148, 100, 0, 8, 255, 172, 1}));
}

TEST(AdamW8, FollowsAdamWAtAQuarterOfItsState) {
  const TrainedShape shape = {.name = "w", .rows = 64, .cols = 128};
  std::vector<float> start(static_cast<std::size_t>(shape.size()), 0.5f);
  Trained full(default_options("adamw"), shape, start), eight(default_options("adamw8"), shape, start);
  for (int step = 0; step < 50; ++step) {  // towards a target that each element has of its own
    for (Trained* w : {&full, &eight}) {
      std::vector<float> gradient = w->weight();
      for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] -= static_cast<float>(i % 23) / 23;
      w->step(gradient, 0.01f);
    }
  }
  double apart = 0, moved = 0;
  for (std::size_t i = 0; i < start.size(); ++i) {
    apart += std::abs(full.weight()[i] - eight.weight()[i]);
    moved += std::abs(full.weight()[i] - start[i]);
  }
  EXPECT_LT(apart, 0.02 * moved);
  const Bytes eight_bytes = make_optimizer(default_options("adamw8"), shape)->state_bytes();
  EXPECT_EQ(eight_bytes, Bytes{2 * (8192 + 8192 / 256 * 4)});
}

TEST(AdamW8, KeepsSmallTensorsInFullPrecision) {
  Trained small(default_options("adamw8"), three_values(), {1, -2, 0.5f});
  Trained full(default_options("adamw"), three_values(), {1, -2, 0.5f});
  small.step({0.1f, -0.2f, 0.3f}, 0.1f);
  full.step({0.1f, -0.2f, 0.3f}, 0.1f);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(small.weight()[i], full.weight()[i], 1e-6);
}

TEST(Regular, TakesTheNamedRuleForEmbeddingsAndHeadAndAdamWForVectors) {
  OptimizerOptions options = default_options("apollo-mini");
  options.regular = "adafactor";
  TrainedShape embedding = {.name = "e", .rows = 64, .cols = 32, .role = TensorRole::kEmbedding};
  EXPECT_EQ(make_optimizer(options, embedding)->state_parts()[0].name, "exp_avg_sq_row");
  embedding.role = TensorRole::kHead;
  EXPECT_EQ(make_optimizer(options, embedding)->state_parts()[0].name, "exp_avg_sq_row");
  const TrainedShape norm = {.name = "n", .cols = 32, .role = TensorRole::kVector};
  EXPECT_EQ(make_optimizer(options, norm)->state_parts()[0].name, "exp_avg");
  options.regular.clear();
  EXPECT_EQ(make_optimizer(options, embedding)->state_parts()[0].name, "exp_avg");
}

class EveryRule : public testing::TestWithParam<std::string> {};
std::vector<std::string> rules() {
  std::vector<std::string> names;
  std::string all = optimizer_rules() + ", ";
  for (std::size_t end = 0; (end = all.find(", ")) != std::string::npos; all.erase(0, end + 2)) {
    names.push_back(all.substr(0, end));
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Rules, EveryRule, testing::ValuesIn(rules()), [](const auto& test) {
  std::string name = test.param;
  std::erase(name, '-');
  return name;
});

TEST_P(EveryRule, GivesTheSameBitsForAnyNumberOfThreads) {
  const TrainedShape shape = {.name = "w", .rows = 130, .cols = 257};
  std::vector<float> start(static_cast<std::size_t>(shape.size())), gradient = start;
  for (std::size_t i = 0; i < start.size(); ++i) {
    start[i] = static_cast<float>(i % 17) * 0.01f - 0.08f;
    gradient[i] = static_cast<float>(i * 7919 % 1001) * 1e-4f - 0.05f;
  }
  const auto trained = [&](int threads) {
    Trained w(default_options(GetParam()), shape, start, threads);
    for (int i = 0; i < 3; ++i) w.step(gradient, 0.01f);
    return w.weight();
  };
  const std::vector<float> one = trained(1);
  EXPECT_NE(one, start);
  EXPECT_EQ(trained(2), one);
  EXPECT_EQ(trained(4), one);
}

TEST(Optimizers, NameAnOptionOutsideItsRange) {
  for (const auto& [options, word] :
       std::vector<std::pair<OptimizerOptions, std::string>>{{{.beta1 = 1}, "beta1 1: expected"},
                                                             {{.epsilon = 0}, "epsilon"},
                                                             {{.refresh = 0}, "refresh"},
                                                             {{.rank = -1}, "rank"}}) {
    try {
      static_cast<void>(make_optimizer(options, three_values()));
      FAIL() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr(word));
    }
  }
}

TEST(Optimizers, NameTheRulesThereAre) {
  try {
    static_cast<void>(make_optimizer({.rule = "adam"}, three_values()));
    FAIL() << "'adam' is no rule";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("expected one of adamw"));
  }
}

}  // namespace
}  // namespace jericho
