// Sessions whose keys and values do not fit in RAM: the same bits as those whose do, over every kind of attention, mix
// of sequences and fault; or an error, never another text.
#include "engine/cold_kv.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "kernels/bit_equal.h"
#include "memory/temp_folder.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::HasSubstr;

std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

class ColdKvOf : public testing::TestWithParam<ModelConfig> {
 protected:
  ColdKvOf() { machine_.ledger.set_cap(Tier::kDisk, 1_GiB); }

  [[nodiscard]] Plan warm(const InferenceWish& wish) const {
    return std::get<Plan>(plan_inference(GetParam(), layout_, {.threads = 2}, 1_GiB, wish));
  }
  // With as few pages in RAM as there may be.
  [[nodiscard]] Plan cold(InferenceWish wish) const {
    wish.scratch = true;
    return std::get<DoesNotFit>(plan_inference(GetParam(), layout_, {.threads = 2}, 1_B, wish)).smallest;
  }
  [[nodiscard]] static Plan with_more_pages(Plan plan, Index pages) {
    plan.pages += pages;
    for (PlanRow& row : plan.run) {
      if (row.purpose == Purpose::kKvPages) row.bytes += pages * plan.kv.page_bytes();
    }
    return plan;
  }
  [[nodiscard]] std::unique_ptr<Session> make(const Plan& plan, IoScript script = {}, bool encrypt = false) {
    std::unique_ptr<IoBackend> io = make_io_backend();
    if (!script.faults.empty()) io = make_scripted_backend(std::move(io), std::move(script));
    const ScratchOptions scratch = {.dir = folder_.path(), .place = ScratchPlace::kAnywhere, .encrypt = encrypt};
    return std::make_unique<Session>(machine_.context, *model_, plan, KvBacking::kPopulate, scratch, std::move(io));
  }
  [[nodiscard]] static std::vector<TokenId> text(Index count, unsigned seed) {
    return random_tokens(count, GetParam().vocab_size, seed);
  }

  TestMachine machine_{2};
  TempFolder folder_;
  WeightLayout layout_ = WeightLayout::of_shape(GetParam(), DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, GetParam(), layout_, 3);
};

TEST_P(ColdKvOf, GivesTheBitsOfAllPagesInRamForChunksAndSingleSteps) {
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    const InferenceWish wish = {.context = 900, .kv_type = type, .chunk = 48};
    const std::vector<TokenId> tokens = text(900, 1);
    const auto all_of = make(warm(wish)), few_of = make(cold(wish));
    Session &all = *all_of, &few = *few_of;
    ASSERT_NE(few.cold(), nullptr);
    const SequenceId a = all.open(), b = few.open();
    ASSERT_THAT(copy(few.prefill(b, std::span(tokens).first(860))),
                BitEqual(copy(all.prefill(a, std::span(tokens).first(860)))));
    for (std::size_t i = 860; i < 900; ++i) {
      const std::span<const TokenId> next = std::span(tokens).subspan(i, 1);
      ASSERT_THAT(copy(few.prefill(b, next)), BitEqual(copy(all.prefill(a, next)))) << "token " << i;
    }
    EXPECT_GE(few.cold()->pages(b), 40);
    EXPECT_GT(few.cold()->file().counts().read, Bytes{});
  }
}

// What leaves RAM is on the disk by then: a layer of it is written in every step before.
TEST_P(ColdKvOf, WritesBehindTheStepsBeforePagesLeaveAndKeepsTheBits) {
  const InferenceWish wish = {.context = 1024, .chunk = 48};
  const std::vector<TokenId> tokens = text(840, 1);
  const Plan roomy = with_more_pages(cold(wish), 30);
  const auto all_of = make(warm(wish));
  std::vector<std::vector<float>> expected;
  const SequenceId a = all_of->open();
  expected.push_back(copy(all_of->prefill(a, std::span(tokens).first(600))));
  for (std::size_t i = 600; i < tokens.size(); ++i)
    expected.push_back(copy(all_of->prefill(a, std::span(tokens).subspan(i, 1))));
  Index writes_of_prompt = 0;
  const auto expect_same = [&](Session& few) {
    const SequenceId b = few.open();
    ASSERT_THAT(copy(few.prefill(b, std::span(tokens).first(600))), BitEqual(expected[0]));
    const Index groups = few.cold()->pages(b) / few.cold()->group_pages(), behind = few.cold()->behind_counts().layers;
    const ScratchFile& file = few.cold()->file();
    writes_of_prompt = file.counts().written.count / file.shape().block_bytes.count;
    for (std::size_t i = 600; i < tokens.size(); ++i)
      ASSERT_THAT(copy(few.prefill(b, std::span(tokens).subspan(i, 1))), BitEqual(expected[i - 599])) << "token " << i;
    const Index left = few.cold()->pages(b) / few.cold()->group_pages() - groups;
    EXPECT_GE(left, 3);
    EXPECT_GE(few.cold()->behind_counts().layers - behind, (left - 1) * roomy.kv.layers);
    few.close(b);
    EXPECT_EQ(file.free_slots(), file.shape().slots) << "slots are left behind";
  };
  for (const bool encrypt : {false, true}) {
    const auto few = make(roomy, {}, encrypt);
    expect_same(*few);
    EXPECT_LE(few->cold()->behind_counts().given_up, 1) << "but for the one that the end of the sequence met";
    expect_same(*few);
  }
  // The first write behind fails, more than once: that group is written again when it leaves.
  const auto few =
      make(roomy, {.every = writes_of_prompt + 1, .at_most = 1, .faults = {IoFault::kEnospc}, .only = IoOp::kWrite});
  expect_same(*few);
  EXPECT_GE(few->cold()->behind_counts().given_up, 1);
}

// Two sequences that grow together take turns to give up groups; none is written half and thrown away.
TEST_P(ColdKvOf, WritesTheGroupsOfSeveralSequencesBehindToTheirEnd) {
  const InferenceWish wish = {.context = 800, .sequences = 2, .chunk = 48};
  const std::vector<TokenId> tokens = text(600, 1);
  const auto all_of = make(warm(wish)), few_of = make(with_more_pages(cold(wish), 30));
  Session &all = *all_of, &few = *few_of;
  const std::array lengths = {std::size_t{300}, std::size_t{309}};
  for (const std::size_t length : lengths) {
    const SequenceId a = all.open(), b = few.open();
    ASSERT_EQ(a, b);
    ASSERT_THAT(copy(few.prefill(b, std::span(tokens).first(length))),
                BitEqual(copy(all.prefill(a, std::span(tokens).first(length)))));
  }
  const Index before = few.cold()->behind_counts().given_up;
  for (std::size_t i = 0; i < 250; ++i) {
    const std::array items = {BatchItem{0, std::span(tokens).subspan(lengths[0] + i, 1), LogitRows::kLast},
                              BatchItem{1, std::span(tokens).subspan(lengths[1] + i, 1), LogitRows::kLast}};
    const MatrixView<const float> expected = all.forward(items), actual = few.forward(items);
    for (Index row = 0; row < 2; ++row) ASSERT_THAT(copy(actual.row(row)), BitEqual(copy(expected.row(row)))) << i;
  }
  EXPECT_GT(few.cold()->behind_counts().layers, 0);
  EXPECT_EQ(few.cold()->behind_counts().given_up, before);
  few.close(0), few.close(1);
  EXPECT_EQ(few.cold()->file().free_slots(), few.cold()->file().shape().slots);
}

// Latent attention asks for the same groups once more with every wave of rows; the books know.
TEST_P(ColdKvOf, ReadsNoMoreBlocksInAStepThanThePlanCounts) {
  const InferenceWish wish = {.context = 900, .sequences = 2, .chunk = 160};
  const std::vector<TokenId> tokens = text(900, 1);
  const Plan p = cold(wish);
  const Index groups = p.cold.scratch.slots / p.sequences, once = p.kv.layers * p.cold.scratch.slots;
  const bool latent = GetParam().latent.kv_lora_rank > 0;
  EXPECT_EQ(p.cold.visits, latent ? once + 2 * p.kv.layers * groups : once);
  const auto all_of = make(warm(wish)), few_of = make(p);
  Session &all = *all_of, &few = *few_of;
  for (const SequenceId sequence : {0, 1}) {
    ASSERT_EQ(all.open(), sequence);
    ASSERT_EQ(few.open(), sequence);
    all.prefill(sequence, std::span(tokens).first(720));
    few.prefill(sequence, std::span(tokens).first(720));
  }
  const std::array items = {BatchItem{0, std::span(tokens).last(30)}, BatchItem{1, std::span(tokens).last(130)}};
  const MatrixView<const float> expected = all.forward(items), actual = few.forward(items);
  for (Index row = 0; row < 2; ++row) EXPECT_THAT(copy(actual.row(row)), BitEqual(copy(expected.row(row))));
  const Index most = few.cold()->step_bytes().count / p.cold.scratch.block_bytes.count;
  EXPECT_LE(most, p.cold.visits);
  if (latent) {
    EXPECT_GT(most, once);
  }
}

TEST_P(ColdKvOf, GivesTheBitsOfAllPagesInRamAfterItGaveThemBack) {
  const InferenceWish wish = {.context = 900, .chunk = 48};
  const std::vector<TokenId> tokens = text(900, 1);
  const Plan roomy = with_more_pages(cold(wish), 30);
  const auto all_of = make(warm(wish)), few_of = make(roomy);
  Session &all = *all_of, &few = *few_of;
  const SequenceId a = all.open(), b = few.open();
  all.prefill(a, std::span(tokens).first(600));
  few.prefill(b, std::span(tokens).first(600));
  const Index before = few.cold()->pages(b);
  EXPECT_GE(few.give_back(1_GiB, 900), 29 * roomy.kv.page_bytes());
  EXPECT_GT(few.cold()->pages(b), before);
  EXPECT_EQ(few.context(), 900);
  const std::span<const TokenId> rest = std::span(tokens).subspan(600);
  EXPECT_THAT(copy(few.prefill(b, rest)), BitEqual(copy(all.prefill(a, rest))));
  EXPECT_EQ(few.give_back(1_GiB, 900), 0_B);
}

TEST_P(ColdKvOf, GivesTheBitsOfAllPagesInRamForSequencesThatComeAndGo) {
  const InferenceWish wish = {.context = 400, .sequences = 3, .chunk = 40};
  const auto all_of = make(warm(wish)), few_of = make(cold(wish));
  Session &all = *all_of, &few = *few_of;
  std::mt19937 random(7);
  std::vector<SequenceId> open;
  for (unsigned step = 0; step < 120; ++step) {
    if (open.size() < 3) {
      ASSERT_EQ(all.open(), few.open());
      open.push_back(static_cast<SequenceId>(open.size()));
    }
    std::vector<std::vector<TokenId>> texts;
    std::vector<BatchItem> items;
    for (const SequenceId sequence : open) {
      const Index room = 400 - all.length(sequence);
      if (random() % 4 == 0 || room == 0) continue;
      texts.push_back(text(std::min<Index>(room, 1 + random() % 13), step));
      items.push_back({sequence, {}, LogitRows::kLast});
    }
    if (items.empty()) continue;
    for (std::size_t i = 0; i < items.size(); ++i) items[i].tokens = texts[i];
    const MatrixView<const float> expected = all.forward(items), actual = few.forward(items);
    for (Index row = 0; row < expected.extent(0); ++row)
      ASSERT_THAT(copy(actual.row(row)), BitEqual(copy(expected.row(row)))) << "step " << step << " row " << row;
    if (random() % 25 == 0) {
      const SequenceId sequence = open[random() % open.size()];
      all.close(sequence), few.close(sequence);
      ASSERT_EQ(all.open(), sequence);
      ASSERT_EQ(few.open(), sequence);
    }
  }
}

TEST_P(ColdKvOf, GivesTheRightBitsOrAnErrorWhateverTheDiskDoes) {
  const InferenceWish wish = {.context = 500, .chunk = 48};
  const std::vector<TokenId> tokens = text(500, 2);
  std::vector<std::vector<float>> expected;
  {
    const auto all_of = make(warm(wish));
    Session& all = *all_of;
    const SequenceId sequence = all.open();
    expected.push_back(copy(all.prefill(sequence, std::span(tokens).first(480))));
    for (std::size_t i = 480; i < 500; ++i)
      expected.push_back(copy(all.prefill(sequence, std::span(tokens).subspan(i, 1))));
  }
  int finished = 0, ended = 0;
  const std::vector<std::vector<IoFault>> scripts = {
      {IoFault::kEio},
      {IoFault::kHalf, IoFault::kShortByOne, IoFault::kEnd},
      {IoFault::kFlipBit},
      {IoFault::kEnospc},
      {IoFault::kReorder, IoFault::kDelay, IoFault::kEintr, IoFault::kEagain, IoFault::kEio, IoFault::kFlipBit}};
  for (const auto& faults : scripts) {
    for (const int every : {1, 3, 7, 50}) {
      try {
        const auto few_of = make(cold(wish), {.every = every, .faults = faults, .delay = std::chrono::milliseconds(1)});
        Session& few = *few_of;
        const SequenceId sequence = few.open();
        std::size_t step = 0;
        try {
          ASSERT_THAT(copy(few.prefill(sequence, std::span(tokens).first(480))), BitEqual(expected[step++]));
          for (std::size_t i = 480; i < 500; ++i)
            ASSERT_THAT(copy(few.prefill(sequence, std::span(tokens).subspan(i, 1))), BitEqual(expected[step++]));
          ++finished;
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kIo);
          EXPECT_THAT(error.what(), HasSubstr("(scratch)"));
          EXPECT_TRUE(few.failed(sequence));
          few.close(sequence);
          ++ended;
        }
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
    }
  }
  EXPECT_GE(finished, 10);
  EXPECT_GE(ended, 2);
}

// Nobody reads the pages of a sequence that has failed: others take them, and the disk gets none of them.
TEST_P(ColdKvOf, GivesThePagesAndSlotsOfAFailedSequenceToOthersAtOnce) {
  const InferenceWish wish = {.context = 500, .sequences = 2, .chunk = 48};
  const std::vector<TokenId> tokens = text(400, 2);
  const auto all_of = make(warm(wish));
  const auto few_of =
      make(with_more_pages(cold(wish), 4), {.every = 1, .faults = {IoFault::kEio}, .delay = {}, .only = IoOp::kRead});
  Session &all = *all_of, &few = *few_of;
  const SequenceId broken = few.open(), other = few.open();
  EXPECT_THROW(few.prefill(broken, tokens), Error);
  ASSERT_TRUE(few.failed(broken));
  EXPECT_EQ(few.cold()->pages(broken), 0);
  EXPECT_EQ(few.cold()->file().free_slots(), few.cold()->file().shape().slots);
  const Bytes written = few.cold()->file().counts().written;
  const SequenceId same = all.open();
  const std::span<const TokenId> within = std::span(tokens).first(192);  // pages that there are
  EXPECT_THAT(copy(few.prefill(other, within)), BitEqual(copy(all.prefill(same, within))));
  EXPECT_EQ(few.cold()->file().counts().written, written);
  EXPECT_EQ(few.preemptions().recomputed + few.preemptions().swapped, 0);
  EXPECT_TRUE(few.page(broken, 0).empty());
  few.close(broken);
  EXPECT_EQ(few.open(), broken);
  EXPECT_EQ(few.length(broken), 0);
}

TEST_P(ColdKvOf, GivesTheBitsOfAllPagesInRamWhereFailedSequencesLeftRoom) {
  const InferenceWish wish = {.context = 300, .sequences = 3, .chunk = 40, .preempt = true};
  const Plan p =
      std::get<DoesNotFit>(plan_inference(GetParam(), layout_, {.threads = 2}, 1_B, wish)).smallest;  // no scratch file
  ASSERT_EQ(p.pages, 19);
  const std::vector<TokenId> tokens = text(300, 4);
  const auto all_of = make(warm(wish)), few_of = make(p);
  Session &all = *all_of, &few = *few_of;
  const SequenceId a = few.open(), b = few.open(), c = few.open();
  const std::span<const TokenId> some = std::span(tokens).first(100);
  few.prefill(c, some);
  few.prefill(a, std::span(tokens).first(280));  // c makes room
  const std::array items = {BatchItem{a, std::span(tokens).first(20)}, BatchItem{b, std::span(tokens).first(20)}};
  EXPECT_THROW(few.forward(items), Error);
  EXPECT_TRUE(few.failed(a) && few.failed(b) && !few.failed(c));
  const SequenceId same = all.open();
  all.prefill(same, some);
  const std::span<const TokenId> rest = std::span(tokens).subspan(100);
  EXPECT_THAT(copy(few.prefill(c, rest)), BitEqual(copy(all.prefill(same, rest))));
  EXPECT_EQ(few.preemptions().recomputed, 1) << "nobody but c has ever had to make room";
}

TEST_P(ColdKvOf, GivesTheSameBitsEncryptedAndLeavesNoFile) {
  const InferenceWish wish = {.context = 300, .chunk = 48};
  const std::vector<TokenId> tokens = text(300, 3);
  const auto all_of = make(warm(wish)), few_of = make(cold(wish), {}, true);
  Session &all = *all_of, &few = *few_of;
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  ASSERT_THAT(copy(few.prefill(few.open(), tokens)), BitEqual(copy(all.prefill(all.open(), tokens))));
}

// Six sequences take turns where one has room: each makes room for the next, and nobody's text changes.
TEST_P(ColdKvOf, GivesTheBitsOfAllPagesInRamForMoreSequencesThanThePagesHold) {
  const InferenceWish wish = {.context = 300, .sequences = 6, .chunk = 40};
  const auto all_of = make(warm(wish));
  Session& all = *all_of;
  InferenceWish tight = wish;
  tight.preempt = true;
  std::vector<std::unique_ptr<Session>> sessions;
  const auto planned = [&](Bytes budget) {
    const auto outcome = plan_inference(GetParam(), layout_, {.threads = 2}, budget, tight);
    const auto* refusal = std::get_if<DoesNotFit>(&outcome);
    return refusal != nullptr ? refusal->smallest : std::get<Plan>(outcome);
  };
  const auto add = [&](bool scratch, Preemption how) {
    tight.scratch = scratch;
    const Plan plan = planned(1_B);
    ASSERT_LE(plan.pages, scratch ? 12 : 19);
    sessions.push_back(make(plan));
    sessions.back()->preempt_by(how);
  };
  add(true, Preemption::kSwap);
  add(true, Preemption::kRecompute);
  add(true, Preemption::kCheapest);
  add(false, Preemption::kSwap);  // there is nowhere to swap to
  tight.scratch = true;           // half of the pages, and a disk that is full
  const Plan half = planned({(planned(1_B).peak().count + planned(1_GiB).peak().count) / 2});
  ASSERT_TRUE(half.preempts() && half.pages > 19);
  sessions.push_back(make(half, {.every = 1, .faults = {IoFault::kEnospc}, .delay = {}}));
  sessions.back()->preempt_by(Preemption::kSwap);
  for (int i = 0; i < 6; ++i) {
    const SequenceId sequence = all.open();
    for (auto& few : sessions) ASSERT_EQ(few->open(), sequence);
  }
  std::mt19937 random(11);
  for (unsigned turn = 0; turn < 60; ++turn) {
    const auto sequence = static_cast<SequenceId>(random() % 6);
    const Index room = 300 - all.length(sequence);
    if (room == 0) continue;
    const std::vector<TokenId> tokens = text(std::min<Index>(room, 1 + random() % 60), turn);
    const std::vector<float> expected = copy(all.prefill(sequence, tokens));
    for (auto& few : sessions) ASSERT_THAT(copy(few->prefill(sequence, tokens)), BitEqual(expected)) << turn;
  }
  EXPECT_GT(sessions[0]->preemptions().swapped, 10);
  EXPECT_EQ(sessions[0]->preemptions().recomputed, 0);
  EXPECT_EQ(sessions[1]->preemptions().swapped, 0);
  EXPECT_GT(sessions[1]->preemptions().recomputed, 10);
  EXPECT_EQ(sessions[3]->preemptions().swapped, 0);
  EXPECT_GT(sessions[4]->preemptions().recomputed, 0);
}

TEST(Preemption, RecomputesWhatIsReadFasterThanItIsMoved) {
  const PreemptionCost cost = {.tokens = 1000, .bytes = 100_MiB, .seconds_per_token = 1e-3, .bytes_per_second = 1e9};
  EXPECT_FALSE(recompute_is_cheaper(cost));  // 1 s against 0.21 s
  PreemptionCost faster = cost;
  faster.seconds_per_token = 2e-4;  // 0.2 s
  EXPECT_TRUE(recompute_is_cheaper(faster));
  faster.seconds_per_token = 0;
  EXPECT_FALSE(recompute_is_cheaper(faster));
}

TEST_P(ColdKvOf, LeasesWhatThePlanSaysAndGivesItBack) {
  const Plan p = cold({.context = 900, .chunk = 48});
  const Bytes ram = machine_.ledger.free(Tier::kRam);
  {
    const auto few = make(p);
    Bytes leased{};
    for (const PlanRow& row : p.run) leased += row.bytes;
    EXPECT_EQ(ram - machine_.ledger.free(Tier::kRam), leased);
    EXPECT_EQ(1_GiB - machine_.ledger.free(Tier::kDisk), p.cold.scratch.total());
  }
  EXPECT_EQ(machine_.ledger.free(Tier::kRam), ram);
  EXPECT_EQ(machine_.ledger.free(Tier::kDisk), 1_GiB);
}

INSTANTIATE_TEST_SUITE_P(, ColdKvOf, testing::Values(small_config(), rich_config(), latent_config(), hybrid_config()),
                         [](const auto& test) { return test.param.architecture; });

}  // namespace
}  // namespace jericho
