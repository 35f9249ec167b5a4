// Sessions whose keys are kept per channel (kernels/channel_keys.h): the same bits however the tokens were cut,
// batched, spread over threads and paths or read again, from the bytes that the plan says; and what does not go with
// them.
#include <functional>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "engine/wish_refusal.h"
#include "kernels/bit_equal.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr KvTypes kTypes(KvType::kQ4C, KvType::kQ4);

ModelConfig windowed_config() {  // one layer of three has a window, which begins in a block of codes
  ModelConfig c = small_config();
  c.num_hidden_layers = 3;
  c.layers.assign(3, {});
  c.layers[1].window = 200;
  return c;
}

class KeysPerChannelInSessions : public testing::Test {
 protected:
  [[nodiscard]] Plan plan(const InferenceWish& wish, int threads = 2) const {
    return std::get<Plan>(plan_inference(config_, layout_, {.threads = threads}, 1_GiB, wish));
  }
  [[nodiscard]] Plan smallest(const InferenceWish& wish) const {
    return std::get<DoesNotFit>(plan_inference(config_, layout_, {.threads = 2}, 1_B, wish)).smallest;
  }
  [[nodiscard]] std::unique_ptr<Session> make(const Plan& plan) {
    return std::make_unique<Session>(machine_.context, *model_, plan, KvBacking::kPopulate);
  }
  // Reads the tokens in pieces and adds the logits of each.
  static std::vector<float> logits(Session& session, SequenceId sequence, std::span<const TokenId> tokens,
                                   Index piece) {
    std::vector<float> all;
    while (!tokens.empty()) {
      const auto next = tokens.first(std::min(tokens.size(), static_cast<std::size_t>(piece)));
      const BatchItem item = {sequence, next, LogitRows::kAll};
      const MatrixView<const float> rows = session.forward({&item, 1});
      all.insert(all.end(), rows.data(), rows.data() + rows.extent(0) * rows.extent(1));
      tokens = tokens.subspan(next.size());
    }
    return all;
  }
  std::vector<float> logits(std::span<const TokenId> tokens, Index piece) {
    const auto session = make(plan(wish_));
    return logits(*session, session->open(), tokens, piece);
  }
  [[nodiscard]] std::span<const TokenId> first(std::size_t count) const { return std::span(tokens_).first(count); }
  [[nodiscard]] Bytes pages_used() const { return machine_.ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).used; }

  TestMachine machine_{2};
  ModelConfig config_ = windowed_config();
  WeightLayout layout_ = WeightLayout::of_shape(config_, DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, config_, layout_, 3);
  std::vector<TokenId> tokens_ = random_tokens(420, config_.vocab_size, 5);
  InferenceWish wish_{.context = 512, .kv_type = kTypes, .chunk = 512, .all_logits = true};
};

TEST_F(KeysPerChannelInSessions, GiveTheSameBitsHoweverTheTokensWereCut) {
  for (const bool rotated : {false, true}) {
    for (const KvType values : {KvType::kQ4, KvType::kF16}) {
      wish_.kv_type = {KvType::kQ4C, values};
      wish_.kv_rotate = rotated;
      wish_.chunk = 512;
      const std::vector<float> expected = logits(tokens_, 420);
      for (const Index piece : {1, 7, 32, 63, 64, 65, 130}) {
        wish_.chunk = piece;
        EXPECT_THAT(logits(tokens_, piece), BitEqual(expected)) << piece << " rotated " << rotated;
      }
    }
  }
}

TEST_F(KeysPerChannelInSessions, GiveTheSameBitsForAnyNumberOfThreadsOnEveryPath) {
  const std::vector<float> expected = logits(first(300), 300);
  const auto expect_same = [&](int threads, CpuPath path, std::size_t count, Index piece) {
    TestMachine machine(threads, path);
    const auto model = Model::random(machine.context, config_, layout_, 3);
    Session session(machine.context, *model, plan(wish_, threads), KvBacking::kOnDemand);
    EXPECT_THAT(logits(session, session.open(), first(count), piece),
                BitEqual(std::span(expected).first(count * static_cast<std::size_t>(config_.vocab_size))))
        << threads << " threads, " << name(path) << ", pieces of " << piece;
  };
  for (const int threads : {1, 3, 7}) {  // seven: positions are split where a token is alone
    for (const Index piece : {1, 100}) expect_same(threads, machine_.context.kernels.path, 300, piece);
  }
  for (const CpuPath path : usable_cpu_paths()) expect_same(2, path, path == CpuPath::kScalar ? 200 : 300, 40);
}

TEST_F(KeysPerChannelInSessions, GiveTheBitsOfTheirOwnAmongOthers) {
  const std::vector<float> expected = logits(tokens_, 420);
  wish_.sequences = 4;
  wish_.chunk = 64;
  const auto session = make(plan(wish_));
  std::vector<SequenceId> all;
  for (int s = 0; s < 4; ++s) all.push_back(session->open());
  const SequenceId own = all[2];
  session->prefill(all[0], first(61));
  session->prefill(all[3], first(200));
  std::vector<float> actual;
  for (std::size_t read = 0; read < tokens_.size();) {
    const std::size_t count = std::min<std::size_t>(1 + read % 50, tokens_.size() - read);
    std::vector<BatchItem> items;
    for (const SequenceId s : {all[0], all[3]}) {
      if (session->length(s) < 400) items.push_back({s, std::span(tokens_).subspan(read % 300, 2), LogitRows::kNone});
    }
    items.insert(items.begin() + static_cast<std::ptrdiff_t>(items.size() / 2),
                 {own, std::span(tokens_).subspan(read, count), LogitRows::kAll});
    const MatrixView<const float> rows = session->forward(items);
    actual.insert(actual.end(), rows.data(), rows.data() + rows.extent(0) * rows.extent(1));
    read += count;
  }
  EXPECT_THAT(actual, BitEqual(expected));
}

TEST_F(KeysPerChannelInSessions, AreReadAgainAsTheyWereRead) {
  wish_.sequences = 2;
  wish_.chunk = 64;
  const auto whole = make(plan(wish_));
  const std::vector<float> expected = logits(*whole, whole->open(), tokens_, 60);
  wish_.preempt = true;
  const auto session = make(smallest(wish_));
  const SequenceId own = session->open();
  std::vector<float> actual;
  for (std::size_t i = 0; i < tokens_.size(); i += 60) {
    const SequenceId other = session->open();  // takes the pages
    session->prefill(other, first(400));
    session->close(other);
    const std::vector<float> rows = logits(*session, own, std::span(tokens_).subspan(i, 60), 60);
    actual.insert(actual.end(), rows.begin(), rows.end());
  }
  EXPECT_THAT(actual, BitEqual(expected));
  EXPECT_GE(session->preemptions().recomputed, 2);
}

TEST_F(KeysPerChannelInSessions, TakeThePagesOfTheirPlanAndGiveThemBack) {
  wish_.chunk = 64;
  const Plan p = plan(wish_);
  // Per sequence two blocks and a page, and the pages of a chunk; the whole context has 32.
  EXPECT_EQ(p.full_key_pages(), 2 * 4 + 1 + 64 / 16);
  EXPECT_EQ(p.full_key_bytes(),
            arena_bytes(p.full_key_pages() * config_.num_hidden_layers * config_.num_key_value_heads *
                        kv_tile_bytes(KvType::kF16, config_.head_dim)));
  EXPECT_EQ(plan({.context = 64, .kv_type = kTypes}).full_key_pages(), 4) << "no more than the context has";
  EXPECT_EQ(plan({.context = 512, .kv_type = KvType::kQ4}).full_key_bytes(), 0_B);
  const Bytes before = machine_.ledger.free(Tier::kRam);
  {
    const auto session = make(p);
    Bytes leased{};
    for (const PlanRow& row : p.run) leased += row.bytes;
    EXPECT_EQ(before - machine_.ledger.free(Tier::kRam), leased);
    EXPECT_EQ(pages_used(), p.of(Purpose::kKvPages));
  }
  EXPECT_EQ(machine_.ledger.free(Tier::kRam), before);
  Session session(machine_.context, *model_, p, KvBacking::kOnDemand);
  const SequenceId sequence = session.open();
  session.prefill(sequence, first(256));
  const Bytes used = pages_used();
  session.prefill(sequence, std::span(tokens_).subspan(256, 128));
  EXPECT_EQ(pages_used() - used, 8 * p.kv.page_bytes()) << "keys in full are kept on the pages of those before";
}

TEST_F(KeysPerChannelInSessions, AreAnotherAnswerBehindTheFirstTwoBlocksAndNoneWithinThem) {
  wish_.kv_type = {KvType::kQ4C, KvType::kF16};
  const std::vector<float> coded = logits(first(200), 200);
  wish_.kv_type = KvType::kF16;
  const std::vector<float> full = logits(first(200), 200);
  const auto rows = [&](const std::vector<float>& of, std::size_t begin, std::size_t end) {
    const auto vocab = static_cast<std::size_t>(config_.vocab_size);
    return std::span(of).subspan(begin * vocab, (end - begin) * vocab);
  };
  EXPECT_THAT(rows(coded, 0, 128), BitEqual(rows(full, 0, 128)));
  for (std::size_t t = 128; t < 200; ++t) EXPECT_GE(first_difference(rows(coded, t, t + 1), rows(full, t, t + 1)), 0);
}

TEST_F(KeysPerChannelInSessions, GiveAwayAndTakeNoPagesThatLackOneOfTheForms) {
  wish_.chunk = 64;
  const auto session = make(plan(wish_));
  const SequenceId sequence = session->open();
  const auto fill = [](Index page, std::span<std::byte>) {
    ADD_FAILURE() << "page " << page << " is asked for";
    return false;
  };
  EXPECT_EQ(session->restore(sequence, tokens_, fill), 0);
  EXPECT_EQ(session->length(sequence), 0);
  session->prefill(sequence, tokens_);
  for (Index page = 0; page < 420 / kPageTokens; ++page) EXPECT_TRUE(session->page(sequence, page).empty()) << page;
}

TEST(KeysPerChannelOfWishes, AreRefusedByNameWhereSomethingLooksAtStoredKeysOrMovesThem) {
  const ModelConfig config = windowed_config();
  EXPECT_EQ(refusal(config, {.kv_type = kTypes}), "accepted");
  EXPECT_EQ(refusal(config, {.kv_type = kTypes, .kv_rotate = true}), "accepted");
  EXPECT_THAT(refusal(config, {.kv_type = kTypes, .kv_select = {KvMethod::kStreaming, 4, 252}}),
              AllOf(HasSubstr("--kv-type-k q4c"), HasSubstr("without --kv-select")));
  EXPECT_THAT(refusal(config, {.kv_type = kTypes, .kv_select = {KvMethod::kH2O, 0, 300}}),
              HasSubstr("without --kv-select"));
  EXPECT_THAT(refusal(config, {.kv_type = kTypes, .scratch = true}), HasSubstr("without --scratch"));
  EXPECT_THAT(refusal(config, {.kv_type = kTypes, .prefix_store = true}), HasSubstr("without --prefix-store"));
  for (const KvTypes types : {KvTypes(KvType::kQ4C), KvTypes(KvType::kF16, KvType::kQ4C)})
    EXPECT_THAT(refusal(config, {.kv_type = types}),
                AllOf(HasSubstr("--kv-type-v q4c"), HasSubstr("--kv-type-k q4c --kv-type-v q4 would do")));
  ModelConfig latent = config;
  latent.architecture = "deepseek";
  latent.latent.kv_lora_rank = 64;
  EXPECT_THAT(refusal(latent, {.kv_type = kTypes}), HasSubstr("deepseek keeps keys and values in one row"));
}

}  // namespace
}  // namespace jericho
