// The planner: its figures are those of the allocations, more context costs more, what it refuses comes with what would
// work, and that is exact to the byte.
#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/page_pool.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Planner : public testing::Test {
 protected:
  [[nodiscard]] std::variant<Plan, DoesNotFit> ask(Bytes budget, const InferenceWish& wish = {}) const {
    return plan_inference(config_, layout_, machine_, budget, wish);
  }
  [[nodiscard]] Plan plan(Bytes budget, const InferenceWish& wish = {}) const {
    auto outcome = ask(budget, wish);
    if (const auto* refusal = std::get_if<DoesNotFit>(&outcome)) ADD_FAILURE() << describe(*refusal);
    return std::holds_alternative<Plan>(outcome) ? std::get<Plan>(outcome) : Plan{};
  }
  [[nodiscard]] DoesNotFit refusal(Bytes budget, const InferenceWish& wish = {}) const {
    auto outcome = ask(budget, wish);
    EXPECT_TRUE(std::holds_alternative<DoesNotFit>(outcome)) << "fits " << budget.count;
    return std::holds_alternative<DoesNotFit>(outcome) ? std::get<DoesNotFit>(outcome) : DoesNotFit{};
  }
  [[nodiscard]] bool fits(Bytes budget, const InferenceWish& wish = {}) const {
    return std::holds_alternative<Plan>(ask(budget, wish));
  }

  static ModelConfig eight_layers() {  // enough for q8 pages to need fewer blocks of 4096 bytes than f16 pages
    ModelConfig config = small_config();
    config.num_hidden_layers = 8;
    config.layers.assign(8, {});
    return config;
  }
  ModelConfig config_ = eight_layers();
  WeightLayout layout_ = WeightLayout::of_shape(config_, DType::kQ8_0);
  Machine machine_ = {.runtime = 5_MiB, .tokenizer = 100_KiB, .io_ring = 64_KiB, .growth = 30_KiB, .threads = 2};
};

TEST_F(Planner, CountsWhatTheAllocationsTake) {
  const Plan p = plan(1_GiB, {.context = 200, .sequences = 3, .chunk = 64});
  EXPECT_EQ(p.pages, 3 * 13);
  EXPECT_EQ(p.of(Purpose::kWeightsResident), arena_bytes(layout_.bytes()));
  EXPECT_EQ(p.of(Purpose::kWeightsStaging), arena_bytes(ModelWeights::staging_bytes(layout_, 2)));
  EXPECT_EQ(p.of(Purpose::kKvPages), PagePool::pool_bytes(p.pages, p.kv.page_bytes()));
  EXPECT_EQ(p.of(Purpose::kAct),
            arena_bytes(Transformer::scratch_bytes(config_, layout_.forms(), {.rows = 64, .logit_rows = 3})));
  EXPECT_EQ(p.of(Purpose::kLogits), arena_bytes({3 * config_.vocab_size * 4}));
  EXPECT_EQ(p.of(Purpose::kRuntime), 5_MiB + 30_KiB);
  EXPECT_EQ(p.of(Purpose::kTokenizer), 100_KiB);
  EXPECT_EQ(p.of(Purpose::kIoRing), 64_KiB);
  EXPECT_EQ(p.of(Purpose::kHttp), Bytes{});
}

TEST_F(Planner, PeakIsTheLargerPhaseOnTopOfWhatIsAlwaysThere) {
  const Plan p = plan(1_GiB);
  Bytes always{}, load{}, run{};
  for (const PlanRow& row : p.always) always += row.bytes;
  for (const PlanRow& row : p.load) load += row.bytes;
  for (const PlanRow& row : p.run) run += row.bytes;
  EXPECT_EQ(p.peak(), always + std::max(load, run));
  EXPECT_GE(p.of(Purpose::kMargin), 512_KiB);
}

TEST_F(Planner, LeavesOnePercentAndAtLeastHalfAMiB) {
  EXPECT_EQ(plan_margin({}), 512_KiB);
  EXPECT_EQ(plan_margin(10_MiB), 512_KiB);
  EXPECT_EQ(plan_margin(10_GiB).count, (10_GiB).count / 100);
}

TEST_F(Planner, NeverPlansBeyondItsBudget) {
  int planned = 0;
  for (Bytes budget = 1_MiB; budget < 16_MiB; budget += 37_KiB) {
    auto outcome = ask(budget, {.context_needed = 100});
    if (const auto* p = std::get_if<Plan>(&outcome)) {
      EXPECT_LE(p->peak(), budget);
      EXPECT_GE(p->context, 100);
      ++planned;
    }
  }
  EXPECT_GT(planned, 50);
}

TEST_F(Planner, GivesMoreContextForMoreMemory) {
  Index context = 0;
  Bytes first{}, whole{};
  for (Bytes budget = 1_MiB; budget < 16_MiB; budget += 16_KiB) {
    const auto outcome = ask(budget);
    const auto* p = std::get_if<Plan>(&outcome);
    EXPECT_TRUE(context == 0 || p != nullptr) << "fitted with less than " << budget.count;
    if (p == nullptr) continue;
    if (first == Bytes{}) first = budget;
    if (whole == Bytes{} && p->context == config_.max_position_embeddings) whole = budget;
    if (p->limits.rows == kSmallestChunk) {
      EXPECT_GE(p->context, context);
    }
    context = p->context;
  }
  EXPECT_GT(first, Bytes{});
  EXPECT_GT(whole, first);
  EXPECT_EQ(context, config_.max_position_embeddings);
}

TEST_F(Planner, CostsMoreForMoreOfAnything) {
  const auto cost = [&](const InferenceWish& wish) { return plan(1_GiB, wish).peak(); };
  const Bytes least = cost({.context = 400, .chunk = 400});
  EXPECT_GT(cost({.context = 800, .chunk = 400}), least);
  EXPECT_GT(cost({.context = 400, .sequences = 2, .chunk = 400}), least);
  EXPECT_GT(cost({.context = 400, .chunk = 500}), least);
  EXPECT_GT(cost({.context = 400, .chunk = 400, .all_logits = true}), least);
  EXPECT_GT(cost({.context = 400, .kv_type = KvType::kF32, .chunk = 400}), least);
  EXPECT_LT(cost({.context = 400, .kv_type = KvType::kQ8, .chunk = 400}), least);
}

TEST_F(Planner, TakesTheLargestChunkThatLeavesTheWholeContext) {
  EXPECT_EQ(plan(1_GiB).limits.rows, kLargestChunk);
  for (Index chunk = kLargestChunk; chunk > kSmallestChunk; chunk /= 2) {
    const Bytes enough = plan(1_GiB, {.context = 1024, .chunk = chunk}).peak();
    EXPECT_EQ(plan(enough, {.context = 1024}).limits.rows, chunk);
    const Plan less = plan(enough - 1_B, {.context = 1024});
    EXPECT_EQ(less.limits.rows, chunk / 2);
    EXPECT_EQ(less.context, 1024);
  }
}

TEST_F(Planner, KeepsAChunkThatWasAskedFor) {
  EXPECT_EQ(plan(1_GiB, {.chunk = 7}).limits.rows, 7);
  EXPECT_EQ(plan(1_GiB, {.sequences = 9, .chunk = 7}).limits.rows, 9);  // every sequence has a row
}

TEST_F(Planner, RefusesOneByteBelowTheSmallestPlan) {
  const InferenceWish wish = {.context_needed = 300};
  const DoesNotFit no = refusal(1_MiB, wish);
  EXPECT_EQ(no.smallest.context, 300);
  EXPECT_EQ(no.smallest.limits.rows, kSmallestChunk);
  EXPECT_TRUE(fits(no.smallest.peak(), wish));
  EXPECT_FALSE(fits(no.smallest.peak() - 1_B, wish));
}

TEST_F(Planner, NamesABudgetThatWorksAndIsTight) {
  for (const InferenceWish& wish : {InferenceWish{.context_needed = 300}, InferenceWish{.context = 1000},
                                    InferenceWish{.sequences = 4, .kv_type = KvType::kF32, .all_logits = true}}) {
    const DoesNotFit no = refusal(1_MiB, wish);
    EXPECT_TRUE(fits(no.smallest_budget, wish));
    EXPECT_FALSE(fits({no.smallest_budget.count * 98 / 100}, wish));
  }
}

TEST_F(Planner, TakesKeysAndValuesEachInTheirOwnType) {
  const auto pages = [&](KvTypes type) {
    return plan(1_GiB, {.context = 512, .kv_type = type, .chunk = kSmallestChunk}).kv.layer_bytes();
  };
  const Bytes mixed = pages({KvType::kQ8, KvType::kQ4});
  EXPECT_EQ(mixed * 2, pages(KvType::kQ8) + pages(KvType::kQ4));
  EXPECT_EQ(pages({KvType::kQ4, KvType::kQ8}), mixed);
}

TEST_F(Planner, DoesNotPromiseABudgetBelowWhatTheStartTook) {
  machine_.startup_peak = 40_MiB;
  EXPECT_FALSE(fits(30_MiB));
  EXPECT_GE(refusal(30_MiB).smallest_budget, 40_MiB);
  EXPECT_TRUE(fits(refusal(30_MiB).smallest_budget));
}

TEST_F(Planner, TellsTheLargestContextThatFits) {
  const Bytes budget = plan(1_GiB, {.context = 512, .chunk = kSmallestChunk}).peak();
  const DoesNotFit no = refusal(budget, {.context = 1024});
  ASSERT_EQ(no.largest_context.size(), 3u);
  const auto [f16, most_f16] = no.largest_context[0];
  const auto [q8, most_q8] = no.largest_context[1];
  const auto [q4, most_q4] = no.largest_context[2];
  EXPECT_EQ(f16, KvType::kF16);
  EXPECT_EQ(q8, KvType::kQ8);
  EXPECT_EQ(q4, KvType::kQ4);
  EXPECT_EQ(most_f16, 512);
  EXPECT_GT(most_q8, most_f16);
  EXPECT_GT(most_q4, most_q8);
  for (const auto& [type, most] : no.largest_context) {
    EXPECT_TRUE(fits(budget, {.context = most, .kv_type = type}));
    const bool whole = most == config_.max_position_embeddings;
    EXPECT_TRUE(whole || !fits(budget, {.context = most + 1, .kv_type = type}));
  }
}

TEST_F(Planner, TellsThatNoContextFits) {
  for (const auto& [type, most] : refusal(1_MiB).largest_context) EXPECT_EQ(most, 0) << name(type);
  EXPECT_EQ(refusal(1_MiB, {.kv_type = KvType::kQ8}).largest_context.size(), 2u) << "q4 is smaller";
  EXPECT_EQ(refusal(1_MiB, {.kv_type = KvType::kQ4}).largest_context.size(), 1u);
}

TEST_F(Planner, DescribesARefusalWithItsWayOut) {
  const Bytes budget = plan(1_GiB, {.context = 512, .chunk = kSmallestChunk}).peak();
  const DoesNotFit asked = refusal(budget, {.context = 1024});
  EXPECT_THAT(
      describe(asked),
      AllOf(HasSubstr("weights"), HasSubstr("kv (1024 tokens)"), HasSubstr("--kv-type q4"), HasSubstr("--chunk 32"),
            HasSubstr("smallest budget that works as asked: --memory " + budget_argument(asked.smallest_budget)),
            HasSubstr("with f16 KV: 512 tokens")));
  EXPECT_THAT(describe(refusal(1_MiB)), AllOf(HasSubstr("smallest budget that works: --memory "),
                                              HasSubstr("no context fits --memory 1.00 MiB with q8 KV")));
}

TEST_F(Planner, OffersQ4OnlyWhereItsTokensAreSmaller) {
  const auto offers = [&](KvTypes type) {
    return describe(refusal(1_MiB, {.kv_type = type})).find("--kv-type q4") != std::string::npos;
  };
  EXPECT_TRUE(offers(KvType::kQ8));
  EXPECT_TRUE(offers({KvType::kQ4C, KvType::kQ8}));
  EXPECT_FALSE(offers({KvType::kQ4C, KvType::kQ4}));
  EXPECT_FALSE(offers(KvType::kQ4));
}

TEST_F(Planner, PrintsABudgetThatIsNeverTooSmall) {
  for (const Bytes budget : {1_B, 10485_B, 10486_B, 9'834'567_B, 16_MiB, 161'234'567_B, 70_GiB}) {
    const auto read = parse_bytes(budget_argument(budget));
    ASSERT_TRUE(read.has_value()) << budget_argument(budget);
    EXPECT_GE(*read, budget);
    EXPECT_LE(*read, budget + 2 * 10486_B + Bytes{budget.count / 10000});
  }
}

class PlannerOfStates : public Planner {
 protected:
  void of(const ModelConfig& config) {
    config_ = config;
    layout_ = WeightLayout::of_shape(config_, DType::kQ8_0);
  }
};

TEST_F(PlannerOfStates, CountsAPagePerSequenceWhateverTheContext) {
  of(hybrid_config());
  for (const Index context : {100, 1000}) {
    const Plan p = plan(1_GiB, {.context = context, .sequences = 3});
    EXPECT_EQ(p.of(Purpose::kStateSsm), state_layout(config_, KvType::kF16).page_bytes() * 3);
    EXPECT_EQ(p.pages, 3 * ceil_div(context, kPageTokens));
  }
  // Two layers of convolutions over 480 + 2 * 48 channels and recurrences of 480 by 24.
  const StateLayout layout = state_layout(config_, KvType::kF16);
  EXPECT_EQ(layout.bytes_per_sequence(), 2_B * (2 * 576 * 2 + 480 * 24 * 4));
  EXPECT_EQ(state_layout(config_, KvType::kF32).bytes_per_sequence(), 2_B * (2 * 576 * 4 + 480 * 24 * 4));
}

TEST_F(PlannerOfStates, NeedsNoKvPagesWhereNoLayerAttends) {
  of(mamba_config());
  const Plan p = plan(1_GiB, {.sequences = 2});
  EXPECT_EQ(p.context, config_.max_position_embeddings);
  EXPECT_EQ(p.pages, 0);
  EXPECT_EQ(p.of(Purpose::kKvPages), 0_B);
  EXPECT_EQ(p.of(Purpose::kStateSsm), state_layout(config_, KvType::kF16).page_bytes() * 2);
  EXPECT_EQ(plan(1_GiB, {.context = 16, .sequences = 2}).peak(), p.peak());  // the length costs nothing
}

TEST_F(PlannerOfStates, DescribesARefusalByItsStates) {
  of(mamba_config());
  const std::string text = describe(refusal(1_MiB, {.sequences = 2}));
  EXPECT_THAT(text, HasSubstr("states (2 sequences)"));
  EXPECT_THAT(text, testing::Not(HasSubstr("kv (")));
  const DoesNotFit no = refusal(1_MiB, {.sequences = 2});
  EXPECT_TRUE(fits(no.smallest_budget, {.sequences = 2}));
  EXPECT_FALSE(fits({no.smallest_budget.count * 98 / 100}, {.sequences = 2}));
  of(small_config());
  EXPECT_THAT(describe(refusal(1_MiB)), testing::Not(HasSubstr("states (")));
}

std::string usage_error(const InferenceWish& wish) {
  try {
    validate(wish, small_config());
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(InferenceWish, IsRefusedByFlagValueAndRange) {
  EXPECT_THAT(usage_error({.context = 0}), AllOf(HasSubstr("--context 0"), HasSubstr("1 to 1024")));
  EXPECT_THAT(usage_error({.context = -3}), HasSubstr("--context -3"));
  EXPECT_THAT(usage_error({.context = 1025}), AllOf(HasSubstr("--context 1025"), HasSubstr("1 to 1024")));
  EXPECT_THAT(usage_error({.context_needed = 1025}), AllOf(HasSubstr("1025"), HasSubstr("at most 1024")));
  EXPECT_THAT(usage_error({.chunk = 0}), HasSubstr("--chunk 0"));
  EXPECT_THAT(usage_error({.chunk = 65537}), HasSubstr("--chunk 65537"));
  EXPECT_THAT(usage_error({.sequences = 0}), HasSubstr("sequences 0"));
  EXPECT_EQ(usage_error({.context = 1024, .sequences = 4096, .chunk = 65536}), "");
}

TEST_F(Planner, SendsToTheDiskOnlyWhatHasNoRoom) {
  const InferenceWish wish = {.context = 1024, .chunk = 32, .scratch = true};
  const Plan whole = plan(1_GiB, wish);
  EXPECT_EQ(whole.cold.group_pages, 0);
  EXPECT_EQ(whole.pages, 64);
  Index before = 0;
  const Bytes least = refusal(1_B, wish).smallest_budget, kv = whole.of(Purpose::kKvPages);
  for (Bytes budget = least; budget < whole.peak(); budget += {kv.count / 7}) {
    const Plan p = plan(budget, wish);
    EXPECT_LE(p.peak(), budget);
    EXPECT_GE(p.pages, before);
    EXPECT_LT(p.pages, 64);
    EXPECT_EQ(p.context, 1024);
    EXPECT_EQ(p.of(Purpose::kKvPages), PagePool::pool_bytes(p.pages, p.kv.page_bytes()) + p.cold.ring_bytes());
    EXPECT_GE(p.cold.scratch.slots * p.cold.group_pages, 64);
    EXPECT_GE(p.cold.scratch.block_bytes, p.cold.group_pages * p.kv.key_offset(1, 0));
    before = p.pages;
  }
  EXPECT_GT(before, 40);
  EXPECT_FALSE(fits(whole.peak() - 1_MiB, {.context = 1024, .chunk = 32}));
}

TEST_F(Planner, NamesTheSmallestBudgetWithAScratchFileAndItIsTight) {
  const InferenceWish wish = {.context = 1024, .chunk = 32};
  const DoesNotFit refused = refusal(1_MiB, wish);
  ASSERT_TRUE(refused.with_scratch.has_value());
  EXPECT_LT(*refused.with_scratch, refused.smallest_budget);
  InferenceWish spilling = wish;
  spilling.scratch = true;
  EXPECT_TRUE(fits(*refused.with_scratch, spilling));
  EXPECT_FALSE(fits({refused.with_scratch->count * 98 / 100}, spilling));
  EXPECT_THAT(describe(refused), HasSubstr("--scratch FOLDER --memory " + budget_argument(*refused.with_scratch)));
  EXPECT_EQ(refusal(1_MiB, spilling).smallest_budget, *refused.with_scratch);
}

TEST_F(Planner, OffersAScratchFileOnlyWhereTheWishMayHaveOne) {
  const auto selecting = [](KvMethod method) {
    return InferenceWish{.context = 1024, .kv_select = {.method = method, .tokens = 256}, .chunk = 32};
  };
  InferenceWish coded = {.context = 1024, .kv_type = {KvType::kQ4C, KvType::kF16}, .chunk = 32};
  std::vector<InferenceWish> refused = {coded, selecting(KvMethod::kH2O), selecting(KvMethod::kSnapKv),
                                        selecting(KvMethod::kStreaming)};
  for (InferenceWish& wish : refused) {
    const DoesNotFit no = refusal(1_MiB, wish);
    EXPECT_FALSE(no.with_scratch.has_value()) << name(wish.kv_select);
    EXPECT_THAT(describe(no), testing::Not(HasSubstr("--scratch")));
    wish.scratch = true;
    EXPECT_THROW(validate(wish, config_), Error);
  }
  for (InferenceWish wish : {InferenceWish{.context = 1024, .chunk = 32}, selecting(KvMethod::kQuest)}) {
    const DoesNotFit no = refusal(1_MiB, wish);
    ASSERT_TRUE(no.with_scratch.has_value()) << name(wish.kv_select);
    EXPECT_THAT(describe(no), HasSubstr("--scratch FOLDER"));
    wish.scratch = true;
    EXPECT_NO_THROW(validate(wish, config_));
    EXPECT_TRUE(fits(*no.with_scratch, wish));
  }
}

TEST_F(Planner, LetsSequencesMakeRoomForOneAnotherWhenToldTo) {
  const InferenceWish wish = {.context = 160, .sequences = 8, .chunk = 32, .preempt = true};
  const Plan least = refusal(1_MiB, wish).smallest;
  EXPECT_EQ(least.pages, 10);  // one sequence
  EXPECT_TRUE(least.preempts());
  EXPECT_FALSE(plan(1_GiB, wish).preempts());
  EXPECT_EQ(plan(1_GiB, wish).pages, 80);
}

TEST_F(Planner, GroupsPagesInBlocksOfAboutAMiB) {
  const KvLayout kv{KvType::kF16, 32, 8, 128};  // a page has 64 KiB of a layer
  EXPECT_EQ(pages_of_group(kv, 1 << 20), 16);
  EXPECT_EQ(pages_of_group(kv, 2048), 4);
  const KvLayout narrow{KvType::kF16, 22, 4, 64};
  EXPECT_EQ(pages_of_group(narrow, 1 << 20), 64);
  EXPECT_EQ(pages_of_group(narrow, 16384), 32);
  EXPECT_EQ(pages_of_group(narrow, 100), 4);  // never less than a block of attention
}

}  // namespace
}  // namespace jericho
