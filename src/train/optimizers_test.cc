// Each rule against worked steps in double, and what every rule promises: the same bits for any number of threads.
#include "train/optimizers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/kernels.h"

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
      : machine_(threads), optimizer_(make_optimizer(options, shape)), weight_(std::move(weight)) {
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

void expect_near(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-6 * std::abs(expected[i])) << "element " << i;
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
    Trained w({.rule = GetParam()}, shape, start, threads);
    for (int i = 0; i < 3; ++i) w.step(gradient, 0.01f);
    return w.weight();
  };
  const std::vector<float> one = trained(1);
  EXPECT_NE(one, start);
  EXPECT_EQ(trained(2), one);
  EXPECT_EQ(trained(4), one);
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
