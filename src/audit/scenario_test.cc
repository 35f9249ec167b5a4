// What each use of a model is told to change first, and with which figures.
#include "audit/scenario.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/test_shapes.h"
#include "base/error.h"

namespace jericho {
namespace {

using testing::HasSubstr;

struct Case {
  TestShape shape;
  AuditRequest request{};
  ScenarioTargets targets{};
  Device device{};

  Case(const nlohmann::json& json, DType type, const char* name, Index context)
      : shape(json, type), device(DeviceList::built_in().named(name)) {
    request.context = context;
    request.command = {.arguments = "-m model.gguf", .has_text = true, .path = "model.gguf"};
  }
  [[nodiscard]] Advice advice(Scenario scenario) const {
    const Planner planner = planner_for(shape.view(), device.memory);
    return advise(scenario, shape.view(), request, targets, planner, planner, device);
  }
};

const Rule& rule(const Advice& advice, const std::string& words) {
  for (const Rule& rule : advice.rules) {
    if (rule.what.find(words) != std::string::npos) return rule;
  }
  throw std::runtime_error("no rule about " + words);
}

double fact(const Advice& advice, const std::string& key) {
  for (const Fact& fact : advice.facts) {
    if (fact.key == key) return fact.value;
  }
  throw std::runtime_error("no fact " + key);
}

TEST(Api, ShortOfRoomBeginsWithTheCache) {
  Case c(llama3_8b(), DType::kF16, "h100", 8192);
  c.targets.tpot_seconds = 1;
  const Advice advice = c.advice(Scenario::kApi);
  EXPECT_LT(fact(advice, "sequences_that_fit"), fact(advice, "critical_batch"));
  EXPECT_TRUE(advice.rules[0].applies);
  EXPECT_THAT(advice.rules[0].what, HasSubstr("8 bits"));
  EXPECT_TRUE(rule(advice, "weights in 4 bits").applies);
  EXPECT_FALSE(rule(advice, "8-bit weights and activations").applies);
  EXPECT_FALSE(rule(advice, "prefix cache").applies);
  EXPECT_EQ(advice.ask.kv_type, KvType::kQ8);
  c.targets.shared_prefix = 0.5;
  EXPECT_TRUE(rule(c.advice(Scenario::kApi), "prefix cache").applies);
}

TEST(Api, ShortOfArithmeticWantsNarrowerArithmeticAndNoSpeculation) {
  Case c(llama32_1b(), DType::kF16, "mi300x", 512);
  c.targets.tpot_seconds = 1;
  const Advice advice = c.advice(Scenario::kApi);
  EXPECT_GT(fact(advice, "sequences_that_fit"), fact(advice, "critical_batch"));
  EXPECT_FALSE(advice.rules[0].applies);
  EXPECT_FALSE(rule(advice, "4 bits").applies);
  EXPECT_TRUE(rule(advice, "8-bit weights and activations").applies);
  EXPECT_FALSE(rule(advice, "speculative").applies);
}

TEST(Api, TakesNoMoreSequencesThanStepInTime) {
  Case c(llama3_8b(), DType::kF16, "h200", 4096);
  c.targets.tpot_seconds = 0.010;
  const Advice advice = c.advice(Scenario::kApi);
  EXPECT_EQ(static_cast<double>(advice.ask.batch), fact(advice, "sequences_in_time"));
  EXPECT_THAT(advice.command,
              HasSubstr(fmt::format("jericho bench -m model.gguf -p 512 -n 128 -b {} -c 4096", advice.ask.batch)));
}

TEST(Edge, WantsFewerBytesPerTokenAndUsesIdleArithmetic) {
  const Case c(llama32_1b(), DType::kF16, "rtx4090", 2048);
  const Advice advice = c.advice(Scenario::kEdge);
  EXPECT_TRUE(rule(advice, "jericho convert model.gguf OUT.gguf --type Q4_0").applies);
  EXPECT_TRUE(rule(advice, "8 bits").applies);
  EXPECT_TRUE(rule(advice, "speculative").applies);
  EXPECT_EQ(advice.ask.batch, 1);
  EXPECT_THAT(advice.command,
              HasSubstr("jericho run -m model.gguf -p 'Once upon a time' -n 128 -c 2048 --kv-type q8 --memory "));
  const Case four(llama32_1b(), DType::kQ4_0, "rtx4090", 2048);
  EXPECT_FALSE(rule(four.advice(Scenario::kEdge), "convert").applies);
}

TEST(LongContext, IsAboutTheCacheFromAThirdOfTheCrossoverOn) {
  const Advice shallow = Case(llama3_8b(), DType::kF16, "h200", 8192).advice(Scenario::kLongContext);
  EXPECT_EQ(fact(shallow, "kv_equals_weights_at_tokens"), 122'532);
  EXPECT_FALSE(shallow.rules[0].applies);
  EXPECT_EQ(shallow.ask.kv_type, KvType::kF16);
  const Advice deep = Case(llama3_8b(), DType::kF16, "h200", 65536).advice(Scenario::kLongContext);
  EXPECT_TRUE(deep.rules[0].applies);
  EXPECT_TRUE(rule(deep, "Quest").applies);
  EXPECT_FALSE(rule(deep, "H2O").applies);
  EXPECT_EQ(deep.ask.kv_type, KvType::kQ8);
}

TEST(LongContext, ComparesTheDiskWithComputingAgain) {
  Case c(llama3_8b(), DType::kF16, "xeon-spr", 65536);
  EXPECT_FALSE(rule(c.advice(Scenario::kLongContext), "prefixes").applies);  // no disk is known
  c.device.disk_bytes_per_second = 3.2e9;
  const Advice advice = c.advice(Scenario::kLongContext);
  EXPECT_NEAR(fact(advice, "kv_read_tokens_per_second"), 24'414, 1);
  EXPECT_EQ(rule(advice, "prefixes").applies, fact(advice, "prefill_tokens_per_second_at_most") < 24'414);
}

TEST(Realtime, FixesTheBatchByTheTimeOfAStep) {
  Case c(llama3_8b(), DType::kQ4_0, "h200", 4096);
  c.targets = {.tpot_seconds = 0.005, .ttft_seconds = 0.001};
  const Advice advice = c.advice(Scenario::kRealtime);
  EXPECT_GE(advice.ask.batch, 1);
  const double step =
      decode_bound(c.shape.view(), c.device, KvType::kF16, static_cast<double>(advice.ask.batch), 4096).seconds;
  EXPECT_LE(step, 0.005);
  EXPECT_TRUE(rule(advice, "shorter prompts").applies);
  EXPECT_TRUE(advice.ask.chunk);
  EXPECT_THAT(advice.command, HasSubstr("--chunk"));
}

TEST(Realtime, ThatNoStepMeetsAsksForFewerBytesFirst) {
  Case c(llama3_70b(), DType::kF16, "h200", 1024);
  c.targets.tpot_seconds = 0.005;
  const Advice advice = c.advice(Scenario::kRealtime);
  EXPECT_EQ(fact(advice, "sequences_in_time"), 0);
  EXPECT_TRUE(rule(advice, "4 bits").applies);
  EXPECT_EQ(advice.ask.batch, 1);
}

TEST(Scenarios, AreNamedAndOthersRefused) {
  for (const Scenario scenario : kScenarios) EXPECT_EQ(parse_scenario(name(scenario)), scenario);
  EXPECT_THROW(static_cast<void>(parse_scenario("toaster")), Error);
  EXPECT_THROW((ScenarioTargets{.tpot_seconds = 0}.validate()), Error);
  EXPECT_THROW((ScenarioTargets{.shared_prefix = 1.5}.validate()), Error);
}

TEST(Commands, AreQuotedForAShell) {
  EXPECT_EQ(quoted("model.gguf"), "model.gguf");
  EXPECT_EQ(quoted("my model's.gguf"), "'my model'\\''s.gguf'");
  EXPECT_EQ(quoted(""), "''");
  EXPECT_EQ(quoted("a;rm -rf b"), "'a;rm -rf b'");
}

}  // namespace
}  // namespace jericho
