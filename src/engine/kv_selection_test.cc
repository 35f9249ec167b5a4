// Sessions that read a part of their keys and values: the same bits however their tokens were batched, wherever the
// pages lie and whoever made room; what a method drops takes no memory; and who may not select.
#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "engine/wish_refusal.h"
#include "kernels/bit_equal.h"
#include "memory/temp_folder.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr KvSelect kQuest256 = {KvMethod::kQuest, 0, 256};
constexpr KvSelect kStreaming = {KvMethod::kStreaming, 4, 100};
constexpr KvSelect kH2O = {KvMethod::kH2O, 0, 100};
constexpr KvSelect kSnapKv = {KvMethod::kSnapKv, 0, 100, 20};

// Four layers, of which one has a window of its own.
ModelConfig deep_config() {
  ModelConfig c = small_config();
  c.num_hidden_layers = 4;
  c.layers.assign(4, {});
  c.layers[2].window = 70;
  return c;
}

class SelectingSessions : public testing::Test {
 protected:
  SelectingSessions() { machine_.ledger.set_cap(Tier::kDisk, 1_GiB); }

  [[nodiscard]] Plan plan(const InferenceWish& wish) const {
    return std::get<Plan>(plan_inference(config_, layout_, {.threads = 2}, 1_GiB, wish));
  }
  [[nodiscard]] Plan smallest(const InferenceWish& wish) const {
    return std::get<DoesNotFit>(plan_inference(config_, layout_, {.threads = 2}, 1_B, wish)).smallest;
  }
  [[nodiscard]] std::unique_ptr<Session> make(const Plan& plan) {
    const ScratchOptions scratch = {.dir = folder_.path(), .place = ScratchPlace::kAnywhere};
    return std::make_unique<Session>(machine_.context, *model_, plan, KvBacking::kPopulate, scratch);
  }
  // The logits of the selecting tokens of `tokens`, read as `prompt` tokens and the rest in pieces.
  std::vector<float> logits(Session& session, std::span<const TokenId> tokens, Index prompt, Index piece) const {
    const SequenceId sequence = session.open();
    session.prefill(sequence, tokens.first(static_cast<std::size_t>(prompt)));
    std::vector<float> all;
    for (auto rest = tokens.subspan(static_cast<std::size_t>(prompt)); !rest.empty();) {
      const auto next = rest.first(std::min(rest.size(), static_cast<std::size_t>(piece)));
      const BatchItem item = {sequence, next, LogitRows::kAll, KvReading::kSelected};
      const MatrixView<const float> rows = session.forward({&item, 1});
      all.insert(all.end(), rows.data(), rows.data() + rows.extent(0) * rows.extent(1));
      rest = rest.subspan(next.size());
    }
    session.close(sequence);
    return all;
  }

  TestMachine machine_{2};
  TempFolder folder_;
  ModelConfig config_ = deep_config();
  WeightLayout layout_ = WeightLayout::of_shape(config_, DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, config_, layout_, 3);
  std::vector<TokenId> tokens_ = random_tokens(620, config_.vocab_size, 5);
  InferenceWish wish_{.context = 700, .kv_select = kQuest256, .chunk = 64, .all_logits = true};
};

TEST_F(SelectingSessions, GivesTheSameBitsHoweverTheTokensWereCut) {
  for (const KvSelect& select : {kQuest256, kStreaming, kH2O, kSnapKv}) {
    wish_.kv_select = select;
    wish_.chunk = 64;
    const std::vector<float> expected = logits(*make(plan(wish_)), tokens_, 480, 1);
    wish_.chunk = 23;
    for (const Index piece : {7, 23})
      EXPECT_THAT(logits(*make(plan(wish_)), tokens_, 480, piece), BitEqual(expected)) << name(select) << " " << piece;
  }
}

TEST_F(SelectingSessions, OfAllTokensHasTheBitsOfNoSelection) {
  wish_.kv_select = {KvMethod::kQuest, 0, 640};
  const std::vector<float> selected = logits(*make(plan(wish_)), tokens_, 560, 1);
  wish_.kv_select = {KvMethod::kStreaming, 4, 616};
  const std::vector<float> streamed = logits(*make(plan(wish_)), tokens_, 560, 1);
  wish_.kv_select = {KvMethod::kH2O, 0, 560};
  const std::vector<float> kept = logits(*make(plan(wish_)), tokens_, 560, 1);
  wish_.kv_select = {KvMethod::kSnapKv, 0, 560, 32};
  const std::vector<float> snapped = logits(*make(plan(wish_)), tokens_, 560, 1);
  wish_.kv_select = {};
  const std::vector<float> all = logits(*make(plan(wish_)), tokens_, 560, 1);
  EXPECT_THAT(selected, BitEqual(all));
  EXPECT_THAT(streamed, BitEqual(all));
  EXPECT_THAT(kept, BitEqual(all));
  EXPECT_THAT(snapped, BitEqual(all));
  for (const KvSelect& select : {kQuest256, kStreaming, kH2O, kSnapKv}) {
    wish_.kv_select = select;
    EXPECT_GE(first_difference(logits(*make(plan(wish_)), tokens_, 560, 1), all), 0) << "or nothing was selected";
  }
}

TEST_F(SelectingSessions, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const KvSelect& select : {kH2O, kSnapKv}) {
    wish_.kv_select = select;
    const std::vector<float> expected = logits(*make(plan(wish_)), tokens_, 480, 23);
    for (const int threads : {1, 4}) {
      TestMachine machine(threads);
      const auto model = Model::random(machine.context, config_, layout_, 3);
      const Plan of = std::get<Plan>(plan_inference(config_, layout_, {.threads = threads}, 1_GiB, wish_));
      Session session(machine.context, *model, of, KvBacking::kPopulate);
      EXPECT_THAT(logits(session, tokens_, 480, 23), BitEqual(expected)) << name(select) << " " << threads;
    }
  }
}

TEST_F(SelectingSessions, GivesTheBitsOfItsOwnAmongOthers) {
  for (const KvSelect& select : {kQuest256, kH2O, kSnapKv}) {
    wish_.kv_select = select;
    wish_.sequences = 1;
    const std::vector<float> expected = logits(*make(plan(wish_)), tokens_, 560, 1);
    wish_.sequences = 3;
    const auto session = make(plan(wish_));
    const SequenceId before = session->open(), own = session->open(), after = session->open();
    session->prefill(own, std::span(tokens_).first(560));
    session->prefill(after, std::span(tokens_).subspan(100, 400));
    std::vector<float> actual;
    for (std::size_t i = 560; i < tokens_.size(); ++i) {
      const auto next = [&](std::size_t at) { return std::span(tokens_).subspan(at, 1); };
      const std::vector<BatchItem> items = {{before, next(i - 560), LogitRows::kNone, KvReading::kAll},
                                            {own, next(i), LogitRows::kLast, KvReading::kSelected},
                                            {after, next(i - 60), LogitRows::kNone, KvReading::kSelected}};
      const auto row = session->forward(items).row(0);
      actual.insert(actual.end(), row.begin(), row.end());
    }
    EXPECT_THAT(actual, BitEqual(expected)) << name(select);
  }
}

TEST_F(SelectingSessions, GivesTheSameBitsFromADiskAndReadsOnlyWhatWasChosen) {
  for (const KvTypes type : {KvTypes(KvType::kF16), KvTypes(KvType::kQ8, KvType::kQ4)}) {
    wish_.kv_type = type;
    const std::vector<float> expected = logits(*make(plan(wish_)), tokens_, 560, 1);
    InferenceWish spilling = wish_;
    spilling.scratch = true;
    const Plan cold = smallest(spilling);
    ASSERT_EQ(cold.cold.group_pages, kAttentionBlock / kPageTokens);
    const auto session = make(cold);
    EXPECT_THAT(logits(*session, tokens_, 560, 1), BitEqual(expected)) << name(type);
    // Of 9 blocks the first two layers read all, the windowed layer the last, the other one at most what it chose.
    const Bytes block = cold.cold.scratch.block_bytes;
    EXPECT_GT(session->cold()->step_bytes(), block * 2);
    EXPECT_LT(session->cold()->step_bytes(), block * 4 * 8);
  }
}

TEST_F(SelectingSessions, ReadsTokensAgainAsTheyWereRead) {
  for (const KvSelect& select : {kQuest256, kH2O, kSnapKv}) {
    wish_.kv_select = select;
    wish_.preempt = false;
    wish_.sequences = 2;
    const std::vector<float> expected = logits(*make(plan(wish_)), tokens_, 560, 1);
    wish_.preempt = true;
    const auto session = make(smallest(wish_));
    session->preempt_by(Preemption::kRecompute);
    const SequenceId own = session->open();
    session->prefill(own, std::span(tokens_).first(560));
    std::vector<float> actual;
    for (std::size_t i = 560; i < tokens_.size(); ++i) {
      if (i % 20 == 0) {  // takes the pages
        const SequenceId other = session->open();
        session->prefill(other, std::span(tokens_).first(612));
        session->close(other);
      }
      const BatchItem item = {own, std::span(tokens_).subspan(i, 1), LogitRows::kLast, KvReading::kSelected};
      const auto row = session->forward({&item, 1}).row(0);
      actual.insert(actual.end(), row.begin(), row.end());
    }
    EXPECT_THAT(actual, BitEqual(expected)) << name(select);
    EXPECT_GE(session->preemptions().recomputed, 2) << name(select);
  }
}

TEST_F(SelectingSessions, WhatNobodyVotedForGivesItsPagesBack) {
  for (const KvSelect& select : {kH2O, kSnapKv}) {
    wish_.kv_select = select;
    const auto session = make(plan(wish_));
    const SequenceId sequence = session->open();
    session->prefill(sequence, std::span(tokens_).first(560));
    EXPECT_FALSE(session->page(sequence, 34).empty());
    const auto read = [&](std::size_t first, std::size_t count, KvReading how) {
      const BatchItem item = {sequence, std::span(tokens_).subspan(first, count), LogitRows::kNone, how};
      session->forward({&item, 1});
    };
    read(560, 13, KvReading::kSelected);  // 100 of the prompt and these: seven whole pages
    EXPECT_EQ(session->length(sequence), 573);
    EXPECT_FALSE(session->page(sequence, 6).empty());
    EXPECT_TRUE(session->page(sequence, 7).empty());
    read(0, 64, KvReading::kAll);  // another prompt, at whose end again 100 are kept
    EXPECT_FALSE(session->page(sequence, 10).empty());
    read(64, 1, KvReading::kSelected);
    EXPECT_FALSE(session->page(sequence, 5).empty());
    EXPECT_TRUE(session->page(sequence, 6).empty());
    EXPECT_GT(session->give_back(1_MiB, 16), 0_B) << "the pages are free";
    session->close(sequence);
  }
}

TEST_F(SelectingSessions, H2ODropsAgainWhileItGenerates) {
  wish_.kv_select = kH2O;
  const auto session = make(plan(wish_));
  const SequenceId sequence = session->open();
  session->prefill(sequence, std::span(tokens_).first(200));
  for (std::size_t i = 200; i < 620; ++i) {
    const BatchItem item = {sequence, std::span(tokens_).subspan(i, 1), LogitRows::kNone, KvReading::kSelected};
    session->forward({&item, 1});
    ASSERT_TRUE(session->page(sequence, (100 + kDropInterval) / kPageTokens).empty()) << i;
  }
}

TEST_F(SelectingSessions, AStreamTakesThePagesOfItsSinksAndItsWindowOnly) {
  wish_.kv_select = kStreaming;
  wish_.context = 1000;
  wish_.chunk = 32;
  const Plan streams = plan(wish_);
  EXPECT_EQ(streams.pages, 1 + 7 + 2 + 2) << "sinks, window, two that are cut, and a chunk";
  wish_.kv_select = {};
  const Plan whole = plan(wish_);
  EXPECT_EQ(whole.pages, 63);
  EXPECT_LT(streams.of(Purpose::kKvPages), whole.of(Purpose::kKvPages));
  const auto session = make(streams);
  const SequenceId sequence = session->open();
  session->prefill(sequence, random_tokens(1000, config_.vocab_size, 6));
  EXPECT_EQ(session->length(sequence), 1000);
  EXPECT_TRUE(session->page(sequence, 10).empty());
  EXPECT_FALSE(session->page(sequence, 0).empty());
  EXPECT_FALSE(session->page(sequence, 61).empty());
  session->close(sequence);
  const SequenceId next = session->open();
  session->prefill(next, random_tokens(1000, config_.vocab_size, 7));
}

TEST_F(SelectingSessions, BoundsAreInTheBooksUnderTheirPurpose) {
  wish_.kv_select = {};
  const Bytes without = plan(wish_).of(Purpose::kKvMeta);
  wish_.kv_select = kQuest256;
  const Plan with = plan(wish_);
  // One layer of 2 heads, 11 blocks, two rows of 32 values; beside them where the choice is made.
  EXPECT_GE(with.of(Purpose::kKvMeta) - without, Bytes{1 * 2 * 11 * 2 * 32 * 4});
  const Bytes before = machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvMeta).used;
  const auto session = make(with);
  EXPECT_EQ(machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvMeta).used - before, with.of(Purpose::kKvMeta));
}

TEST_F(SelectingSessions, RotatedKeysAndValuesGiveTheSameAttentionUpToRounding) {
  model_.reset();
  layout_ = WeightLayout::of_shape(config_, DType::kF32);  // weights in blocks round activations anew
  model_ = Model::random(machine_.context, config_, layout_, 3);
  wish_.kv_select = {};
  wish_.kv_type = KvType::kF32;
  const std::vector<float> plain = logits(*make(plan(wish_)), tokens_, 560, 1);
  wish_.kv_rotate = true;
  const std::vector<float> rotated = logits(*make(plan(wish_)), tokens_, 560, 1);
  EXPECT_GE(first_difference(rotated, plain), 0);
  for (std::size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(rotated[i], plain[i], 1e-3f) << i;
  for (const KvSelect& select : {kQuest256, kStreaming}) {  // the sinks' queries are rotated too
    wish_.kv_select = select;
    wish_.kv_rotate = false;
    const std::vector<float> selected = logits(*make(plan(wish_)), tokens_, 560, 1);
    wish_.kv_rotate = true;
    const std::vector<float> both = logits(*make(plan(wish_)), tokens_, 560, 7);
    const bool same_positions = select.method == KvMethod::kStreaming;  // bounds of rotated keys may promise otherwise
    for (std::size_t i = 0; same_positions && i < both.size(); ++i) ASSERT_NEAR(both[i], selected[i], 1e-3f) << i;
    EXPECT_THAT(logits(*make(plan(wish_)), tokens_, 560, 1), BitEqual(both)) << name(select);
  }
}

TEST(KvSelectionOfFamilies, RefusesByNameWhatHasNothingToSelectFrom) {
  for (const KvSelect& select : {kQuest256, kStreaming}) {
    EXPECT_THAT(refusal(mamba_config(), {.kv_select = select}),
                AllOf(HasSubstr(name(select)), HasSubstr("mamba has no attention")));
    ModelConfig latent = deep_config();
    latent.architecture = "deepseek";
    latent.latent.kv_lora_rank = 64;
    EXPECT_THAT(refusal(latent, {.kv_select = select}), HasSubstr("deepseek keeps one latent row"));
    ModelConfig windows = deep_config();
    windows.architecture = "windows";
    for (LayerConfig& layer : windows.layers) layer.window = 64;
    EXPECT_THAT(refusal(windows, {.kv_select = select}), HasSubstr("no layer of windows reads its whole context"));
    EXPECT_EQ(refusal(deep_config(), {.kv_select = select}), "accepted");
  }
  for (const KvSelect& select : {kH2O, kSnapKv}) {
    EXPECT_THAT(refusal(mamba_config(), {.kv_select = select}), HasSubstr("mamba has no attention"));
    EXPECT_THAT(refusal(deep_config(), {.kv_select = select, .scratch = true}), HasSubstr("without --scratch"));
    EXPECT_THAT(refusal(deep_config(), {.kv_select = select, .prefix_store = true}),
                HasSubstr("without --prefix-store"));
    ModelConfig wide = deep_config();
    wide.layers[2].window = 101;
    EXPECT_THAT(refusal(wide, {.kv_select = select}), HasSubstr("expected tokens of at least 101"));
    EXPECT_EQ(refusal(deep_config(), {.kv_select = select}), "accepted");
  }
  EXPECT_THAT(refusal(small_config(), {.kv_select = kQuest256}), HasSubstr("behind the first 2"));
  EXPECT_EQ(refusal(small_config(), {.kv_select = kStreaming}), "accepted");
}

TEST(KvSelectionOfFamilies, RefusesAStreamNarrowerThanAWindowOrBesideADisk) {
  const KvSelect narrow = {KvMethod::kStreaming, 4, 69};
  EXPECT_THAT(refusal(deep_config(), {.kv_select = narrow}), HasSubstr("at least 70"));
  EXPECT_THAT(refusal(deep_config(), {.kv_select = kStreaming, .scratch = true}), HasSubstr("without --scratch"));
  EXPECT_THAT(refusal(deep_config(), {.kv_select = kStreaming, .prefix_store = true}),
              HasSubstr("without --prefix-store"));
  EXPECT_EQ(refusal(deep_config(), {.kv_select = kQuest256, .scratch = true, .prefix_store = true}), "accepted");
}

TEST(KvRotation, IsRefusedWhereNoHeadHasKeysAndValuesOfItsOwn) {
  ModelConfig latent = deep_config();
  latent.latent.kv_lora_rank = 64;
  ModelConfig odd = deep_config();
  odd.head_dim = 33;
  for (const ModelConfig& config : {mamba_config(), latent, odd})
    EXPECT_THAT(refusal(config, {.kv_rotate = true}), HasSubstr("--kv-rotate"));
  EXPECT_EQ(refusal(deep_config(), {.kv_rotate = true}), "accepted");
}

TEST(KvTypesOfFamilies, LatentKeysAndValuesHaveOneType) {
  ModelConfig latent = deep_config();
  latent.latent.kv_lora_rank = 64;
  EXPECT_THAT(refusal(latent, {.kv_type = {KvType::kQ8, KvType::kQ4}}), HasSubstr("--kv-type-v q4: expected q8"));
  EXPECT_EQ(refusal(latent, {.kv_type = KvType::kQ4}), "accepted");
}

}  // namespace
}  // namespace jericho
