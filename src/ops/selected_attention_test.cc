// Selections of keys and values: their names, the bounds of blocks, what is read and that it is read exactly, and how
// often a needle in a haystack is still found.
#include "ops/selected_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "ops/test_pages.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(KvSelect, ReadsWhatItPrints) {
  const KvSelect streaming = parse_kv_select("streaming:4+1020"), quest = parse_kv_select("quest:2048");
  EXPECT_EQ(streaming, (KvSelect{KvMethod::kStreaming, 4, 1020}));
  EXPECT_EQ(quest, (KvSelect{KvMethod::kQuest, 0, 2048}));
  EXPECT_EQ(name(streaming), "streaming:4+1020");
  EXPECT_EQ(name(quest), "quest:2048");
  EXPECT_EQ(parse_kv_select("streaming:0+1"), (KvSelect{KvMethod::kStreaming, 0, 1}));
}

TEST(KvSelect, RefusesWhatItDoesNotKnowAndSaysWhatWouldDo) {
  for (const char* text : {"", "quest", "snap:100", "Quest:2048", ":2048"})
    EXPECT_THAT(refusal(text), AllOf(HasSubstr("--kv-select"), HasSubstr("expected"))) << text;
  for (const char* text :
       {"streaming:4", "streaming:4+", "streaming:+8", "streaming:4+8+1", "streaming:-1+8", "streaming:4+x"})
    EXPECT_THAT(refusal(text), HasSubstr("streaming:SINKS+WINDOW")) << text;
  EXPECT_THAT(refusal("streaming:4+0"), HasSubstr("at least 1 token"));
  for (const char* text : {"quest:", "quest:-64", "quest:64k", "quest:99999999999999999999"})
    EXPECT_THAT(refusal(text), HasSubstr("quest:TOKENS")) << text;
  EXPECT_THAT(refusal("quest:10"), HasSubstr("quest:256 would do"));
  EXPECT_THAT(refusal("quest:192"), HasSubstr("quest:256 would do"));
  EXPECT_THAT(refusal("quest:1000"), HasSubstr("quest:960 would do"));
}

class Selected : public testing::TestWithParam<int> {  // threads
 protected:
  void SetUp() override { flush_subnormals(); }
  Ledger ledger_{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool_{GetParam()};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
};
INSTANTIATE_TEST_SUITE_P(, Selected, testing::Values(1, 3),
                         [](const auto& threads) { return std::to_string(threads.param) + "_threads"; });

// One layer, and a selection over it.
struct Haystack : PagedText {
  Haystack(const Context& context_in, const KvLayout& layout_in, const KvSelect& select, Index length_in,
           Index heads_in, Index rows = 64)
      : PagedText(context_in, layout_in, length_in), heads(heads_in) {
    if (select.method != KvMethod::kAll) {
      const SelectionShape shape = {.select = select,
                                    .kv = layout,
                                    .heads = heads,
                                    .layers = {true},
                                    .sequences = 3,
                                    .context = length,
                                    .rows = rows,
                                    .threads = context.pool.threads()};
      memory.resize(KvSelection::bytes(shape).size() + 64);
      selection.emplace(shape, aligned(memory));
      const std::int32_t numbers[] = {2};
      selection->begin_step(numbers);
    }
    store(0, length);
  }
  void store(Index first, Index end) {
    store_pages(first, end);
    if (selection) selection->note_keys(context, 0, rows_of(first, end), tables);
  }
  std::vector<float> attend(std::span<const BatchRow> rows, const std::vector<float>& q,
                            const std::vector<float>& sink_q, Index first = 0) {
    const Index T = std::ssize(rows), width = heads * layout.head_dim;
    const auto from = static_cast<std::size_t>(first * width);
    std::vector<float> out(static_cast<std::size_t>(T * width), 9.0f);
    const AttentionShape shape = {.heads = heads, .logits = {scale}};
    selected_attention(context, layout, 0, shape, rows, {q.data() + from, T, width}, {sink_q.data() + from, T, width},
                       tables, nullptr, *selection, {out.data(), T, width});
    return out;
  }
  std::vector<float> attend_fully(std::span<const BatchRow> rows, const std::vector<float>& q) const {
    const Index T = std::ssize(rows), width = heads * layout.head_dim;
    std::vector<float> out(static_cast<std::size_t>(T * width));
    paged_attention(context, layout, 0, {.heads = heads, .logits = {scale}}, rows, {q.data(), T, width}, tables,
                    {out.data(), T, width});
    return out;
  }
  // Of one row's head, in double, over positions of which each is looked at by q or by sink_q.
  [[nodiscard]] std::vector<double> exactly(std::span<const float> q, std::span<const float> sink_q, Index head,
                                            const std::set<Index>& positions, Index sinks = 0) const {
    std::vector<double> out(static_cast<std::size_t>(layout.head_dim));
    double total = 0;
    for (const Index p : positions) {
      const std::vector<float> key = stored(p, head, false), value = stored(p, head, true);
      const std::span<const float> query = p < sinks ? sink_q : q;
      double dot = 0;
      for (std::size_t d = 0; d < key.size(); ++d) dot += double{query[d]} * double{key[d]};
      const double weight = std::exp(dot * double{scale});
      total += weight;
      for (std::size_t d = 0; d < key.size(); ++d) out[d] += weight * double{value[d]};
    }
    for (double& x : out) x /= total;
    return out;
  }

  Index heads;
  float scale = 0.2f;
  std::vector<std::byte> memory{};
  std::optional<KvSelection> selection{};
};

std::vector<BatchRow> rows_of(Index first, Index end, bool selects = true) {
  return PagedText::rows_of(first, end, selects);
}

constexpr KvSelect kQuest256 = {KvMethod::kQuest, 0, 256};

TEST_P(Selected, BoundsEncloseEveryStoredKeyOfTheirBlock) {
  for (const KvType type : kKvTypes) {
    const Haystack hay(context_, {type, 1, 2, 24}, kQuest256, 200, 2);
    for (Index head = 0; head < 2; ++head) {
      for (Index block = 0; block < 3; ++block) {
        const MatrixView<float> bounds = hay.selection->bounds(0, 2, head, block);
        std::vector<float> least(24, 1e9f), largest(24, -1e9f);
        for (Index p = block * 64; p < block * 64 + 64; ++p) {
          const std::vector<float> key = hay.stored(p, head, false);
          for (std::size_t d = 0; d < 24; ++d)
            least[d] = std::min(least[d], key[d]), largest[d] = std::max(largest[d], key[d]);
        }
        EXPECT_THAT(bounds.row(0), BitEqual(least)) << name(type);
        EXPECT_THAT(bounds.row(1), BitEqual(largest)) << name(type);
      }
    }
  }
}

TEST_P(Selected, QuestOfAsManyTokensAsThereAreHasTheBitsOfFullAttention) {
  for (const KvType type : kKvTypes) {
    Haystack hay(context_, {type, 1, 2, 32}, kQuest256, 256, 6);
    const std::vector<BatchRow> rows = rows_of(200, 256);
    const std::vector<float> q = random_row(56 * 6 * 32, 3, Values::kPlain, 1.0f);
    EXPECT_THAT(hay.attend(rows, q, q), BitEqual(hay.attend_fully(rows, q))) << name(type);
  }
}

TEST_P(Selected, QuestAttendsExactlyToTheBlocksOfMostPromise) {
  constexpr Index kHeads = 6, kD = 32, kGroup = 3;
  Haystack hay(context_, {KvType::kF32, 1, 2, kD}, kQuest256, 1000, kHeads);
  const std::vector<BatchRow> rows = {{0, 999, true}};
  const std::vector<float> q = random_row(kHeads * kD, 4, Values::kPlain, 1.0f);
  const std::vector<float> out = hay.attend(rows, q, q);
  for (Index head = 0; head < 2; ++head) {
    std::vector<std::pair<double, Index>> promised;  // of the blocks that are neither the first nor the last two
    for (Index block = 1; block < 14; ++block) {
      const MatrixView<float> bounds = hay.selection->bounds(0, 2, head, block);
      double most = -1e300;
      for (Index h = head * kGroup; h < (head + 1) * kGroup; ++h) {
        double sum = 0;
        for (Index d = 0; d < kD; ++d) {
          const double x = double{q[static_cast<std::size_t>(h * kD + d)]};
          sum += std::max(x * double{bounds(0, d)}, x * double{bounds(1, d)});
        }
        most = std::max(most, sum);
      }
      promised.emplace_back(-most, block);
    }
    std::sort(promised.begin(), promised.end());
    std::set<Index> positions;
    for (const Index block : {Index{0}, promised[0].second, Index{14}, Index{15}}) {
      for (Index p = block * 64; p < std::min<Index>(block * 64 + 64, 1000); ++p) positions.insert(p);
    }
    for (Index h = head * kGroup; h < (head + 1) * kGroup; ++h) {
      const auto own = std::span(q).subspan(static_cast<std::size_t>(h * kD), kD);
      const std::vector<double> exact = hay.exactly(own, own, head, positions);
      for (std::size_t d = 0; d < kD; ++d)
        ASSERT_NEAR(double{out[static_cast<std::size_t>(h * kD) + d]}, exact[d], 1e-5) << "head " << h << " d " << d;
    }
  }
}

TEST_P(Selected, TokensTogetherReadWhatEachReadsAlone) {
  for (const KvSelect& select : {kQuest256, KvSelect{KvMethod::kStreaming, 5, 100}}) {
    Haystack hay(context_, {KvType::kF16, 1, 2, 32}, select, 700, 4);
    const std::vector<BatchRow> rows = rows_of(640, 700);
    const std::vector<float> q = random_row(60 * 4 * 32, 5, Values::kPlain, 1.0f), sink_q = random_row(60 * 4 * 32, 6);
    const std::vector<float> together = hay.attend(rows, q, sink_q);
    for (Index t = 0; t < 60; ++t) {
      const std::vector<float> alone =
          hay.attend(std::span(rows).subspan(static_cast<std::size_t>(t), 1), q, sink_q, t);
      ASSERT_THAT(alone, BitEqual(std::span(together).subspan(static_cast<std::size_t>(t * 4 * 32), 4 * 32))) << t;
    }
  }
}

TEST_P(Selected, WhatIsStoredLaterDoesNotChangeWhatATokenReads) {
  Haystack hay(context_, {KvType::kF16, 1, 1, 32}, kQuest256, 700, 2);
  const std::vector<BatchRow> row = {{0, 600, true}};
  const std::vector<float> q = random_row(2 * 32, 7, Values::kPlain, 1.0f);
  const std::vector<float> before = hay.attend(row, q, q);
  for (std::size_t i = 601 * 32; i < hay.keys.size(); ++i) hay.keys[i] *= 50;
  hay.store(601, 700);
  EXPECT_THAT(hay.attend(row, q, q), BitEqual(before));
}

TEST_P(Selected, TokensOfAPromptReadEverythingUnderQuest) {
  Haystack hay(context_, {KvType::kF16, 1, 1, 32}, kQuest256, 700, 2);
  const std::vector<float> q = random_row(2 * 32, 8, Values::kPlain, 1.0f);
  const std::vector<BatchRow> prompt = rows_of(699, 700, false), generated = rows_of(699, 700);
  const std::vector<float> all = hay.attend_fully(prompt, q);
  EXPECT_THAT(hay.attend(prompt, q, q), BitEqual(all));
  EXPECT_GE(first_difference(hay.attend(generated, q, q), all), 0) << "or the comparison shows nothing";
}

TEST_P(Selected, ABlockWithAKeyThatIsNoNumberIsRead) {
  Haystack hay(context_, {KvType::kF32, 1, 1, 32}, kQuest256, 1000, 1);
  hay.keys[300 * 32 + 7] = std::numeric_limits<float>::quiet_NaN();
  hay.store(256, 320);
  const std::vector<float> q = random_row(32, 9, Values::kPlain, 1.0f);
  std::vector<std::int32_t> out(4);
  const auto chosen = hay.selection->choose(0, {0, 999, true}, 0, {q.data(), 1, 32}, 0, out);
  EXPECT_THAT(std::vector<std::int32_t>(chosen.begin(), chosen.end()), testing::ElementsAre(0, 4, 14, 15));
}

TEST_P(Selected, OfEqualPromisesTheEarlierBlockIsRead) {
  Haystack hay(context_, {KvType::kF32, 1, 1, 32}, kQuest256, 1000, 1);
  std::fill(hay.keys.begin(), hay.keys.end(), 1.0f);
  hay.store(0, 1000);
  const std::vector<float> q = random_row(32, 9, Values::kPlain, 1.0f);
  std::vector<std::int32_t> out(4);
  const auto chosen = hay.selection->choose(0, {0, 999, true}, 0, {q.data(), 1, 32}, 0, out);
  EXPECT_THAT(std::vector<std::int32_t>(chosen.begin(), chosen.end()), testing::ElementsAre(0, 1, 14, 15));
}

TEST_P(Selected, StreamingReadsTheSinksWithTheirOwnQueryAndTheWindow) {
  constexpr Index kHeads = 4, kD = 32;
  for (const auto& [sinks, window] : {std::pair<Index, Index>{4, 60}, {0, 33}, {16, 1}, {64, 128}, {70, 64}}) {
    Haystack hay(context_, {KvType::kF32, 1, 2, kD}, {KvMethod::kStreaming, sinks, window}, 400, kHeads);
    const std::vector<BatchRow> rows = rows_of(180, 230);
    const std::vector<float> q = random_row(50 * kHeads * kD, 10, Values::kPlain, 1.0f);
    const std::vector<float> sink_q = random_row(50 * kHeads * kD, 11, Values::kPlain, 1.0f);
    const std::vector<float> out = hay.attend(rows, q, sink_q);
    for (Index t = 0; t < 50; ++t) {
      const Index position = 180 + t;
      const bool streams = position >= sinks + window;
      std::set<Index> positions;
      for (Index p = 0; p <= position; ++p) {
        if (!streams || p < sinks || p > position - window) positions.insert(p);
      }
      for (Index h = 0; h < kHeads; ++h) {
        const auto at = static_cast<std::size_t>((t * kHeads + h) * kD);
        const std::vector<double> exact = hay.exactly(std::span(q).subspan(at, kD), std::span(sink_q).subspan(at, kD),
                                                      h / 2, positions, streams ? sinks : 0);
        for (std::size_t d = 0; d < kD; ++d)
          ASSERT_NEAR(double{out[at + d]}, exact[d], 2e-5) << sinks << "+" << window << " token " << t << " head " << h;
      }
    }
  }
}

TEST_P(Selected, StreamingReadsNoPageBetweenSinksAndWindow) {
  Haystack hay(context_, {KvType::kF16, 1, 2, 32}, {KvMethod::kStreaming, 4, 100}, 400, 2);
  const std::vector<BatchRow> rows = rows_of(380, 400);
  const std::vector<float> q = random_row(20 * 2 * 32, 12, Values::kPlain, 1.0f);
  const std::vector<float> expected = hay.attend(rows, q, q);
  for (std::size_t page = 1; page < 281 / 16; ++page) hay.list[page] = nullptr;
  EXPECT_THAT(hay.attend(rows, q, q), BitEqual(expected));
}

// A needle among 16K random keys: a key near the query, so that full attention gives it half of its weight or more.
class Needles {
 public:
  static constexpr Index kLength = 16384, kD = 64, kRead = 2048, kTrials = 300;
  static constexpr float kScale = 0.125f;

  Needles(const Context& context, KvType type, KvSelect select)
      : hay_(context, {type, 1, 1, kD}, select, kLength, 2), random_(7) {
    hay_.scale = kScale;
  }

  // How often attention over what `positions` says is the needle's value, to half its size.
  template <class Attend>
  int found(const Attend& attend) {
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> strength(10, 16);  // the haystack's weights add up to e^10.2
    std::uniform_int_distribution<Index> place(64, kLength - 129);
    random_.seed(11);
    int count = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::vector<float> q(2 * kD);  // of two heads that share the keys; the needle is the first one's
      for (float& x : q) x = normal(random_);
      float size = 0;
      for (Index d = 0; d < kD; ++d) size += q[static_cast<std::size_t>(d)] * q[static_cast<std::size_t>(d)];
      const Index position = place(random_), block = position / kAttentionBlock * kAttentionBlock;
      const float factor = strength(random_) / kScale / size;
      const auto at = static_cast<std::size_t>(position * kD);
      const std::vector<float> kept(hay_.keys.begin() + position * kD, hay_.keys.begin() + (position + 1) * kD);
      for (std::size_t d = 0; d < kD; ++d) hay_.keys[at + d] = factor * q[d] + normal(random_);
      hay_.store(block, block + kAttentionBlock);
      const std::vector<float> out = attend(q);
      double distance = 0, length = 0;
      for (std::size_t d = 0; d < kD; ++d) {
        distance += std::pow(double{out[d]} - double{hay_.values[at + d]}, 2);
        length += std::pow(double{hay_.values[at + d]}, 2);
      }
      if (distance < length / 4) ++count;
      std::copy(kept.begin(), kept.end(), hay_.keys.begin() + position * kD);
      hay_.store(block, block + kAttentionBlock);
    }
    return count;
  }
  int found_by_all() {
    return found([&](const std::vector<float>& q) { return hay_.attend_fully(kRow, q); });
  }
  int found_by_selection() {
    return found([&](const std::vector<float>& q) { return hay_.attend(kRow, q, q); });
  }
  // As many blocks, but any.
  int found_by_chance() {
    std::mt19937 other(13);
    return found([&](const std::vector<float>& q) {
      std::vector<Index> blocks(kLength / kAttentionBlock - 3);
      for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<Index>(i) + 1;
      std::shuffle(blocks.begin(), blocks.end(), other);
      blocks.resize(kRead / kAttentionBlock - 3);
      blocks.insert(blocks.end(), {0, kLength / kAttentionBlock - 2, kLength / kAttentionBlock - 1});
      std::sort(blocks.begin(), blocks.end());
      std::vector<std::byte*> table;
      for (const Index block : blocks)
        table.insert(table.end(), hay_.list.begin() + block * 4, hay_.list.begin() + block * 4 + 4);
      const std::vector<std::span<std::byte* const>> tables = {table};
      std::vector<float> out(2 * kD);
      const BatchRow row = {0, kRead - 1};
      paged_attention(hay_.context, hay_.layout, 0, {.heads = 2, .logits = {kScale}}, {&row, 1}, {q.data(), 1, 2 * kD},
                      tables, {out.data(), 1, 2 * kD});
      return out;
    });
  }

 private:
  inline static const std::vector<BatchRow> kRow = {{0, kLength - 1, true}};
  Haystack hay_;
  std::mt19937 random_;
};

TEST(Needle, QuestOf2048TokensFindsItAmong16KAsOftenAsFullAttentionDoes) {
  flush_subnormals();
  Ledger ledger(LedgerCaps{.ram = 64_MiB});
  ThreadPool pool(2);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  for (const KvType type : {KvType::kF16, KvType::kQ8, KvType::kQ4}) {
    Needles quest(context, type, {KvMethod::kQuest, 0, Needles::kRead});
    Needles streaming(context, type, {KvMethod::kStreaming, 4, Needles::kRead - 4});
    const int all = quest.found_by_all(), selected = quest.found_by_selection(), chance = quest.found_by_chance();
    const int streamed = streaming.found_by_selection();
    std::printf("%s: of %ld needles full attention finds %d, quest:2048 %d, streaming:4+2044 %d, blocks by chance %d\n",
                std::string(name(type)).c_str(), static_cast<long>(Needles::kTrials), all, selected, streamed, chance);
    EXPECT_GE(all, Needles::kTrials / 2) << "or there is little to lose";
    EXPECT_GE(selected * 100, all * 95) << name(type);
    EXPECT_LE(chance * 100, all * 30) << "an eighth of the blocks holds an eighth of the needles";
    EXPECT_LE(streamed * 100, all * 30) << "the window is an eighth of the text";
  }
}

}  // namespace
}  // namespace jericho
