// Sessions: sequences come and go over one pool of pages, every way of reading a text gives the same logits, and a
// request that cannot be is refused without a trace.
#include "engine/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/bit_equal.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SessionTest : public testing::Test {
 protected:
  SessionTest() : model_(Model::random(machine_.context, small_config(), layout_, 3)) {}

  [[nodiscard]] Plan plan(const InferenceWish& wish) const {
    auto outcome = plan_inference(small_config(), layout_, {.threads = 2}, 1_GiB, wish);
    JERICHO_CHECK(std::holds_alternative<Plan>(outcome), "a small model does not fit {}", 1);
    return std::get<Plan>(outcome);
  }
  [[nodiscard]] static std::vector<TokenId> text(Index count, unsigned seed) {
    return random_tokens(count, small_config().vocab_size, seed);
  }
  static std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }
  // The message of the Error(kInput) that forward() throws.
  static std::string refusal(Session& session, SequenceId sequence, const std::vector<TokenId>& tokens) {
    try {
      const BatchItem item = {sequence, tokens};
      session.forward({&item, 1});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      return error.what();
    }
    return "";
  }

  TestMachine machine_{2};
  WeightLayout layout_ = WeightLayout::of_shape(small_config(), DType::kQ8_0);
  std::unique_ptr<Model> model_;
};

TEST_F(SessionTest, LeasesWhatThePlanSaysAndGivesItBack) {
  const Plan p = plan({.context = 100, .sequences = 2, .chunk = 16});
  const Bytes before = machine_.ledger.free(Tier::kRam);
  {
    const Session session(machine_.context, *model_, p, KvBacking::kPopulate);
    Bytes leased{};
    for (const PlanRow& row : p.run) leased += row.bytes;
    EXPECT_EQ(before - machine_.ledger.free(Tier::kRam), leased);
    EXPECT_EQ(machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).used, p.of(Purpose::kKvPages));
  }
  EXPECT_EQ(machine_.ledger.free(Tier::kRam), before);
}

TEST_F(SessionTest, BacksPagesAsTheyAreUsedWhenToldTo) {
  const Plan p = plan({.context = 640, .chunk = 64});
  Session session(machine_.context, *model_, p, KvBacking::kOnDemand);
  const auto used = [&] { return machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).used; };
  EXPECT_LE(used(), p.kv.page_bytes());
  session.prefill(session.open(), text(40, 1));  // three pages
  EXPECT_GE(used(), 3 * p.kv.page_bytes());
  EXPECT_LT(used(), p.of(Purpose::kKvPages));
}

TEST_F(SessionTest, GivesBackThePagesThatNoTokenUsesAndEndsItsContextThere) {
  const Plan p = plan({.context = 640, .chunk = 64});
  Session other(machine_.context, *model_, p, KvBacking::kPopulate);
  Session session(machine_.context, *model_, p, KvBacking::kPopulate);
  const auto reserved = [&] { return machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).reserved; };
  const SequenceId sequence = session.open(), whole = other.open();
  session.prefill(sequence, text(64, 1));
  other.prefill(whole, text(64, 1));
  const Bytes before = reserved();
  EXPECT_EQ(session.give_back(10 * p.kv.page_bytes(), 100), 10 * p.kv.page_bytes());
  EXPECT_EQ(before - reserved(), 10 * p.kv.page_bytes());
  EXPECT_EQ(session.context(), 480);
  EXPECT_EQ(session.give_back(1_GiB, 100), 23 * p.kv.page_bytes());  // 7 pages hold 100 tokens
  EXPECT_EQ(session.context(), 112);
  EXPECT_EQ(session.give_back(1_GiB, 100), 0_B);
  EXPECT_THAT(copy(session.prefill(sequence, text(48, 2))), BitEqual(copy(other.prefill(whole, text(48, 2)))));
  EXPECT_THROW(session.prefill(sequence, text(1, 3)), Error);
}

TEST_F(SessionTest, KeepsThePagesThatSeveralSequencesWerePromised) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 2}), KvBacking::kPopulate);
  EXPECT_EQ(session.give_back(1_GiB, 16), 0_B);
}

TEST_F(SessionTest, CountsTheTokensOfEachSequence) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 2, .chunk = 16}), KvBacking::kPopulate);
  const SequenceId a = session.open(), b = session.open();
  EXPECT_NE(a, b);
  session.prefill(a, text(33, 1));
  session.prefill(b, text(5, 2));
  EXPECT_EQ(session.length(a), 33);
  EXPECT_EQ(session.length(b), 5);
  session.close(a);
  EXPECT_EQ(session.length(a), 0);
  EXPECT_EQ(session.length(b), 5);
}

TEST_F(SessionTest, UsesTheSamePagesForOneTextAfterAnother) {
  Session session(machine_.context, *model_, plan({.context = 48, .chunk = 48}), KvBacking::kPopulate);
  SequenceId sequence = session.open();
  const std::vector<float> first = copy(session.prefill(sequence, text(48, 1)));
  for (unsigned round = 0; round < 5; ++round) {  // the pool has the pages of one sequence
    session.close(sequence);
    sequence = session.open();
    session.prefill(sequence, text(48, 2 + round));
  }
  session.close(sequence);
  EXPECT_THAT(copy(session.prefill(session.open(), text(48, 1))), BitEqual(first));
}

TEST_F(SessionTest, KeepsTheNeighboursOfAClosedSequenceIntact) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 3, .chunk = 64}), KvBacking::kPopulate);
  const std::vector<TokenId> ours = text(40, 9);
  const SequenceId alone = session.open();
  const std::vector<float> expected = copy(session.prefill(alone, ours));
  session.close(alone);

  const SequenceId left = session.open(), middle = session.open(), right = session.open();
  session.prefill(left, text(30, 1));
  session.prefill(middle, std::span(ours).first(39));
  session.prefill(right, text(30, 2));
  session.close(left);
  session.close(right);
  session.prefill(session.open(), text(60, 3));
  EXPECT_THAT(copy(session.prefill(middle, std::span(ours).last(1))), BitEqual(expected));
}

class SessionOfStates : public testing::TestWithParam<ModelConfig> {
 protected:
  [[nodiscard]] Plan plan(const InferenceWish& wish) const {
    return std::get<Plan>(plan_inference(GetParam(), layout_, {.threads = 2}, 1_GiB, wish));
  }
  [[nodiscard]] static std::vector<TokenId> text(Index count, unsigned seed) {
    return random_tokens(count, GetParam().vocab_size, seed);
  }
  static std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

  TestMachine machine_{2};
  WeightLayout layout_ = WeightLayout::of_shape(GetParam(), DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, GetParam(), layout_, 3);
};

TEST_P(SessionOfStates, LeasesOnePageForEachSequence) {
  const Plan p = plan({.context = 64, .sequences = 3, .chunk = 16});
  const auto states = [&] { return machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kStateSsm); };
  {
    Session session(machine_.context, *model_, p, KvBacking::kOnDemand);
    EXPECT_EQ(states().reserved, p.state.page_bytes() * 3);
    EXPECT_EQ(states().used, 0_B);
    session.prefill(session.open(), text(20, 1));
    EXPECT_EQ(states().used, p.state.page_bytes());
  }
  EXPECT_EQ(states().reserved, 0_B);
}

TEST_P(SessionOfStates, StartsEverySequenceWithAnEmptyState) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 2, .chunk = 64}), KvBacking::kPopulate);
  const SequenceId first = session.open();
  const std::vector<float> expected = copy(session.prefill(first, text(40, 1)));
  session.close(first);
  for (unsigned round = 0; round < 3; ++round) {
    const SequenceId other = session.open();
    session.prefill(other, text(30, 2 + round));
    session.close(other);
  }
  const SequenceId neighbour = session.open(), again = session.open();
  const std::vector<TokenId> tokens = text(40, 1);
  session.prefill(neighbour, text(9, 7));
  session.prefill(again, std::span(tokens).first(25));
  session.prefill(neighbour, text(9, 8));
  session.close(neighbour);
  session.prefill(session.open(), text(5, 9));
  EXPECT_THAT(copy(session.prefill(again, std::span(tokens).last(15))), BitEqual(expected));
}

TEST_P(SessionOfStates, RemembersTheTokensBefore) {  // negative control
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 2, .chunk = 64}), KvBacking::kPopulate);
  std::vector<TokenId> tokens = text(40, 1);
  const std::vector<float> expected = copy(session.prefill(session.open(), tokens));
  tokens[5] = (tokens[5] + 1) % static_cast<TokenId>(GetParam().vocab_size);
  EXPECT_GE(first_difference(copy(session.prefill(session.open(), tokens)), expected), 0);
}

INSTANTIATE_TEST_SUITE_P(, SessionOfStates, testing::Values(mamba_config(), hybrid_config()),
                         [](const auto& test) { return test.param.architecture; });

TEST_F(SessionTest, PrefillReadsChunksAndReportsThem) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 2, .chunk = 16}), KvBacking::kPopulate);
  const std::vector<TokenId> tokens = text(37, 4);
  std::vector<Index> steps;
  const std::vector<float> last = copy(session.prefill(session.open(), tokens, {}, [&](Index done, Index total) {
    steps.push_back(done);
    EXPECT_EQ(total, 37);
  }));
  EXPECT_THAT(steps, testing::ElementsAre(16, 32, 37));
  const SequenceId one_by_one = session.open();
  std::vector<float> logits;
  for (const TokenId token : tokens) logits = copy(session.prefill(one_by_one, {&token, 1}));
  EXPECT_THAT(logits, BitEqual(last));
}

TEST_F(SessionTest, GivesTheLogitsAskedForInTheOrderOfTheItems) {
  Session session(machine_.context, *model_, plan({.context = 64, .sequences = 3, .chunk = 64, .all_logits = true}),
                  KvBacking::kPopulate);
  const std::vector<TokenId> a = text(3, 1), b = text(4, 2), c = text(2, 3);
  const auto alone = [&](const std::vector<TokenId>& tokens) {
    const SequenceId sequence = session.open();
    std::vector<float> last = copy(session.prefill(sequence, tokens));
    session.close(sequence);
    return last;
  };
  const std::vector<float> last_a = alone(a), last_c = alone(c);
  const std::array items = {BatchItem{session.open(), a, LogitRows::kLast},
                            BatchItem{session.open(), b, LogitRows::kNone},
                            BatchItem{session.open(), c, LogitRows::kAll}};
  const MatrixView<const float> rows = session.forward(items);
  ASSERT_EQ(rows.extent(0), 3);
  EXPECT_THAT(rows.row(0), BitEqual(last_a));
  EXPECT_THAT(rows.row(2), BitEqual(last_c));
}

TEST_F(SessionTest, RefusesTokensBeyondTheContextAndGoesOnAsBefore) {
  Session session(machine_.context, *model_, plan({.context = 20, .sequences = 2, .chunk = 32}), KvBacking::kPopulate);
  const SequenceId sequence = session.open(), undisturbed = session.open();
  session.prefill(sequence, text(18, 1));
  EXPECT_THAT(refusal(session, sequence, text(3, 2)),
              AllOf(HasSubstr("3 tokens after 18"), HasSubstr("context of 20")));
  EXPECT_EQ(session.length(sequence), 18);
  session.prefill(undisturbed, text(18, 1));
  const std::vector<float> expected = copy(session.prefill(undisturbed, text(2, 2)));
  EXPECT_THAT(copy(session.prefill(sequence, text(2, 2))), BitEqual(expected));
  EXPECT_EQ(session.length(sequence), 20);
  EXPECT_NE(refusal(session, sequence, text(1, 2)), "");
}

TEST_F(SessionTest, RefusesTokensOutsideTheVocabularyAndGoesOnAsBefore) {
  Session session(machine_.context, *model_, plan({.context = 20, .sequences = 2, .chunk = 32}), KvBacking::kPopulate);
  const SequenceId sequence = session.open(), undisturbed = session.open();
  for (const TokenId bad : {-1, 320, 1 << 30}) {
    EXPECT_THAT(refusal(session, sequence, {5, bad, 6}),
                AllOf(HasSubstr(std::to_string(bad)), HasSubstr("vocabulary of 320")));
  }
  EXPECT_EQ(session.length(sequence), 0);
  const std::vector<float> expected = copy(session.prefill(undisturbed, text(4, 2)));
  EXPECT_THAT(copy(session.prefill(sequence, text(4, 2))), BitEqual(expected));
}

TEST_F(SessionTest, RefusesAWholeBatchForOneBadItem) {
  Session session(machine_.context, *model_, plan({.context = 20, .sequences = 2, .chunk = 32}), KvBacking::kPopulate);
  const std::vector<TokenId> good = {1, 2}, bad = {3, 999};
  const std::array items = {BatchItem{session.open(), good}, BatchItem{session.open(), bad}};
  EXPECT_THROW(session.forward(items), Error);
  EXPECT_EQ(session.length(items[0].sequence), 0);
  EXPECT_EQ(session.length(items[1].sequence), 0);
}

TEST_F(SessionTest, StopsBetweenChunksOnRequest) {
  Session session(machine_.context, *model_, plan({.context = 64, .chunk = 16}), KvBacking::kPopulate);
  const SequenceId sequence = session.open();
  std::stop_source source;
  try {
    session.prefill(sequence, text(60, 1), source.get_token(), [&](Index, Index) { source.request_stop(); });
    FAIL() << "read to the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_EQ(session.length(sequence), 16);
}

TEST_F(SessionTest, SharesOneModelWithOtherSessions) {
  const Plan p = plan({.context = 32, .chunk = 32});
  Session a(machine_.context, *model_, p, KvBacking::kPopulate), b(machine_.context, *model_, p, KvBacking::kOnDemand);
  const std::vector<float> from_a = copy(a.prefill(a.open(), text(30, 1)));
  EXPECT_THAT(copy(b.prefill(b.open(), text(30, 1))), BitEqual(from_a));
}

}  // namespace
}  // namespace jericho
