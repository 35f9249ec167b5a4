// Votes for what is kept: their sums, who is elected, how what stays moves, and how often a needle is still found.
#include "ops/kv_votes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "ops/test_pages.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(KvVotesNames, AreReadAsTheyArePrinted) {
  EXPECT_EQ(parse_kv_select("h2o:2048"), (KvSelect{KvMethod::kH2O, 0, 2048}));
  EXPECT_EQ(parse_kv_select("snapkv:2048"), (KvSelect{KvMethod::kSnapKv, 0, 2048, 32}));
  EXPECT_EQ(parse_kv_select("snapkv:2048,64"), (KvSelect{KvMethod::kSnapKv, 0, 2048, 64}));
  EXPECT_EQ(name(parse_kv_select("h2o:2048")), "h2o:2048");
  EXPECT_EQ(name(parse_kv_select("snapkv:100")), "snapkv:100,32");
}

TEST(KvVotesNames, RefuseWhatNamesNoTokensAndSayWhatWouldDo) {
  for (const char* text : {"h2o", "h2o:", "h2o:-4", "h2o:10k", "h2o:8,8", "h2o:99999999999999999999"})
    EXPECT_THAT(refusal(text), AllOf(HasSubstr("--kv-select"), HasSubstr("h2o:TOKENS, as in"))) << text;
  EXPECT_THAT(refusal("h2o:1"), HasSubstr("at least 2 tokens"));
  for (const char* text :
       {"snapkv", "snapkv:", "snapkv:100,", "snapkv:,32", "snapkv:100,32,5", "snapkv:-1", "snapkv:1+2"})
    EXPECT_THAT(refusal(text), HasSubstr("snapkv:TOKENS[,WINDOW], as in")) << text;
  EXPECT_THAT(refusal("snapkv:32"), HasSubstr("snapkv:64,32 would do"));
  EXPECT_THAT(refusal("snapkv:100,100"), HasSubstr("snapkv:200,100 would do"));
  EXPECT_THAT(refusal("snapkv:100,0"), HasSubstr("snapkv:2,1 would do"));
  EXPECT_THAT(refusal("H2O:100"), HasSubstr("h2o:TOKENS or snapkv:TOKENS[,WINDOW]"));
}

// Two layers, of which the second does not select.
struct Text : PagedText {
  Text(const Context& context_in, KvTypes type, Index heads_kv, Index D, Index heads_in, const KvSelect& select,
       Index length_in)
      : PagedText(context_in, {type, 2, heads_kv, D}, length_in),
        heads(heads_in),
        queries(random_row(length * heads * D, 60, Values::kPlain, 1.0f)) {
    const SelectionShape shape = {.select = select,
                                  .kv = layout,
                                  .heads = heads,
                                  .logits = {.scale = scale},
                                  .layers = {true, false},
                                  .sequences = 3,
                                  .context = length,
                                  .rows = 64,
                                  .threads = context.pool.threads()};
    memory.resize(KvVotes::bytes(shape).size() + 64);
    votes.emplace(shape, aligned(memory));
    const std::int32_t numbers[] = {2};
    votes->begin_step(numbers);
  }
  // Tokens [first, end) are stored and look back.
  void read(Index first, Index end) {
    store_pages(first, end);
    const Index width = heads * layout.head_dim;
    for (const Index layer : {0, 1})
      votes->note_queries(context, layer, rows_of(first, end), {queries.data() + first * width, end - first, width},
                          tables);
  }
  void drop() { votes->drop(context, 2, length, length, list); }
  // What place `place` of a head holds now: the first position whose key and value are these, bit by bit.
  [[nodiscard]] Index position_at(Index place, Index layer, Index head, const std::map<std::vector<float>, Index>& of) {
    return of.at(row_at(place, layer, head));
  }
  [[nodiscard]] std::vector<float> row_at(Index place, Index layer, Index head) const {
    std::vector<float> row = stored(place, head, false, layer);
    const std::vector<float> value = stored(place, head, true, layer);
    row.insert(row.end(), value.begin(), value.end());
    return row;
  }
  [[nodiscard]] std::vector<Index> kept(Index layer, Index head, const std::map<std::vector<float>, Index>& of) {
    std::vector<Index> positions;
    for (Index place = 0; place < votes->select().tokens; ++place)
      positions.push_back(position_at(place, layer, head, of));
    return positions;
  }
  [[nodiscard]] std::map<std::vector<float>, Index> rows(Index layer, Index head) const {
    std::map<std::vector<float>, Index> of;
    for (Index place = 0; place < length; ++place) of.emplace(row_at(place, layer, head), place);
    return of;
  }
  // In double: the weight of position j to the query heads of a KV head at position t, summed.
  [[nodiscard]] std::vector<double> weights(Index t, Index head) const {
    std::vector<double> sum(static_cast<std::size_t>(t + 1));
    const Index D = layout.head_dim, group = heads / layout.kv_heads;
    for (Index h = head * group; h < (head + 1) * group; ++h) {
      std::vector<double> p;
      double total = 0;
      for (Index j = 0; j <= t; ++j) {
        const std::vector<float> row = row_at(j, 0, head);
        double dot = 0;
        for (Index d = 0; d < D; ++d)
          dot += double{queries[static_cast<std::size_t>((t * heads + h) * D + d)]} *
                 double{row[static_cast<std::size_t>(d)]};
        p.push_back(std::exp(dot * double{scale}));
        total += p.back();
      }
      for (std::size_t j = 0; j < p.size(); ++j) sum[j] += p[j] / total;
    }
    return sum;
  }

  Index heads;
  float scale = 0.4f;
  std::vector<float> queries;
  std::vector<std::byte> memory{};
  std::optional<KvVotes> votes{};
};

std::vector<Index> most(const std::vector<double>& votes, Index candidates, Index seats) {
  std::vector<Index> order;
  for (Index j = 0; j < candidates; ++j) order.push_back(j);
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
    return votes[static_cast<std::size_t>(a)] > votes[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(seats));
  std::sort(order.begin(), order.end());
  return order;
}

class Voting : public testing::TestWithParam<int> {  // threads
 protected:
  void SetUp() override { flush_subnormals(); }
  Ledger ledger_{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool_{GetParam()};
  Context context_{ledger_, pool_, kernels_for(chosen_cpu_path())};
};
INSTANTIATE_TEST_SUITE_P(, Voting, testing::Values(1, 2, 4),
                         [](const auto& threads) { return std::to_string(threads.param) + "_threads"; });

constexpr KvSelect kH2O40 = {KvMethod::kH2O, 0, 40};
constexpr KvSelect kSnap40 = {KvMethod::kSnapKv, 0, 40, 12};

TEST_P(Voting, AnH2OVoteIsTheSumOfAllWeightsSoFar) {
  for (const KvTypes type : {KvTypes(KvType::kF32), KvTypes(KvType::kQ8, KvType::kQ4)}) {
    Text text(context_, type, 2, 24, 6, kH2O40, 150);
    text.read(0, 150);
    for (Index head = 0; head < 2; ++head) {
      std::vector<double> expected(150);
      for (Index t = 0; t < 150; ++t) {
        const std::vector<double> w = text.weights(t, head);
        for (std::size_t j = 0; j < w.size(); ++j) expected[j] += w[j];
      }
      const auto votes = text.votes->votes(0, 2, head);
      for (std::size_t j = 0; j < 150; ++j) ASSERT_NEAR(double{votes[j]}, expected[j], 1e-4 * (1 + expected[j])) << j;
    }
  }
}

TEST_P(Voting, VotesHaveTheSameBitsHoweverTheTokensWereCut) {
  Text together(context_, KvType::kF16, 2, 32, 4, kH2O40, 150), cut(context_, KvType::kF16, 2, 32, 4, kH2O40, 150);
  together.read(0, 150);
  for (const auto& [first, end] : std::vector<std::pair<Index, Index>>{{0, 1}, {1, 70}, {70, 77}, {77, 150}})
    cut.read(first, end);
  for (const Index head : {0, 1})
    EXPECT_THAT(cut.votes->votes(0, 2, head), BitEqual(together.votes->votes(0, 2, head)));
  ThreadPool other(3);
  const Context elsewhere{ledger_, other, kernels_for(CpuPath::kScalar)};
  Text by_reference(elsewhere, KvType::kF16, 2, 32, 4, kH2O40, 150);
  by_reference.read(0, 150);
  for (const Index head : {0, 1})
    EXPECT_THAT(by_reference.votes->votes(0, 2, head), BitEqual(together.votes->votes(0, 2, head)));
}

TEST_P(Voting, H2OKeepsTheNewestHalfAndThoseWithMostVotes) {
  for (const KvType type : kKvTypes) {
    Text text(context_, type, 2, 32, 4, kH2O40, 150);
    text.read(0, 150);
    for (Index head = 0; head < 2; ++head) {
      const auto votes = text.votes->votes(0, 2, head);
      const std::vector<double> before(votes.begin(), votes.end());
      std::vector<Index> expected = most(before, 130, 20);
      for (Index p = 130; p < 150; ++p) expected.push_back(p);
      Text own(context_, type, 2, 32, 4, kH2O40, 150);
      own.read(0, 150);
      const auto of = own.rows(0, head);
      own.drop();
      EXPECT_EQ(own.kept(0, head, of), expected) << name(type);
      for (std::size_t place = 0; place < expected.size(); ++place)
        EXPECT_EQ(double{own.votes->votes(0, 2, head)[place]}, before[static_cast<std::size_t>(expected[place])]);
    }
  }
}

TEST_P(Voting, SnapKvKeepsItsWindowAndWhatItLooksAtWithItsNeighbours) {
  for (const KvType type : kKvTypes) {
    Text text(context_, type, 2, 32, 4, kSnap40, 157);
    text.read(0, 90);
    text.read(90, 157);
    for (Index head = 0; head < 2; ++head) {
      std::vector<double> votes(157), pooled(145);
      for (Index t = 145; t < 157; ++t) {
        const std::vector<double> w = text.weights(t, head);
        for (std::size_t j = 0; j < w.size(); ++j) votes[j] += w[j];
      }
      for (Index j = 0; j < 145; ++j) {
        for (Index i = std::max<Index>(j - 2, 0); i <= std::min<Index>(j + 2, 144); ++i)
          pooled[static_cast<std::size_t>(j)] += votes[static_cast<std::size_t>(i)];
      }
      std::vector<Index> expected = most(pooled, 145, 28);
      for (Index p = 145; p < 157; ++p) expected.push_back(p);
      Text own(context_, type, 2, 32, 4, kSnap40, 157);
      own.read(0, 157);
      const auto of = own.rows(0, head);
      own.drop();
      EXPECT_EQ(own.kept(0, head, of), expected) << name(type);
    }
  }
}

TEST_P(Voting, ALayerThatDoesNotSelectKeepsTheNewest) {
  for (const KvSelect& select : {kH2O40, kSnap40}) {
    Text text(context_, KvType::kQ8, 1, 32, 2, select, 150);
    text.read(0, 150);
    const auto of = text.rows(1, 0);
    text.drop();
    std::vector<Index> expected;
    for (Index p = 110; p < 150; ++p) expected.push_back(p);
    EXPECT_EQ(text.kept(1, 0, of), expected);
  }
}

TEST_P(Voting, OfEqualVotesTheEarlierPositionStaysAndOneWithoutANumberIsKept) {
  Text text(context_, KvType::kF32, 1, 32, 1, {KvMethod::kH2O, 0, 4}, 100);
  text.read(0, 100);
  const auto of = text.rows(0, 0);
  const auto votes = text.votes->votes(0, 2, 0);
  std::fill(votes.begin(), votes.end(), 1.0f);
  votes[70] = std::numeric_limits<float>::quiet_NaN();
  text.drop();
  EXPECT_THAT(text.kept(0, 0, of), ElementsAre(0, 70, 98, 99));
}

// A needle among random keys that the last tokens of the prompt look for; or they look for something else, and a later
// one for the needle.
class Needles {
 public:
  static constexpr Index kLength = 4096, kD = 64, kRead = 512, kTrials = 100, kAsking = 32;
  static constexpr float kScale = 0.125f;

  Needles(const Context& context, KvType type, const KvSelect& select)
      : text_(context, type, 1, kD, 2, select, kLength) {
    text_.read(0, kLength - kAsking);
    text_.store_pages(kLength - kAsking, kLength);
    bytes_ = text_.bytes;
    memory_ = text_.memory;
  }

  struct Found {
    int all = 0, kept = 0;
  };
  Found found(bool asked) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> strength(10, 16);  // the haystack's weights add up to e^8.8
    std::uniform_int_distribution<Index> place(64, kLength - kRead - 1);
    Found count;
    for (Index trial = 0; trial < kTrials; ++trial) {
      std::copy(bytes_.begin(), bytes_.end(), text_.bytes.begin());
      std::copy(memory_.begin(), memory_.end(), text_.memory.begin());
      std::vector<float> q(2 * kD);  // of two heads that share the keys; the needle is the first one's
      for (float& x : q) x = normal(random);
      float size = 0;
      for (std::size_t d = 0; d < kD; ++d) size += q[d] * q[d];
      const Index position = place(random);
      const float factor = strength(random) / kScale / size;
      const auto at = static_cast<std::size_t>(position * kD);
      const std::vector<float> before(text_.keys.begin() + position * kD, text_.keys.begin() + (position + 1) * kD);
      for (std::size_t d = 0; d < kD; ++d) text_.keys[at + d] = factor * q[d] + normal(random);
      text_.store_pages(position, position + 1);
      std::vector<float> other(2 * kD);
      for (float& x : other) x = normal(random);
      for (Index t = kLength - kAsking; t < kLength; ++t) {
        for (std::size_t d = 0; d < 2 * kD; ++d)
          text_.queries[static_cast<std::size_t>(t * 2 * kD) + d] = (asked ? q[d] : other[d]) + 0.3f * normal(random);
      }
      text_.read(kLength - kAsking, kLength);
      if (finds(q, position, kLength)) ++count.all;
      text_.drop();
      if (finds(q, position, kRead)) ++count.kept;
      std::copy(before.begin(), before.end(), text_.keys.begin() + position * kD);
    }
    return count;
  }

 private:
  bool finds(const std::vector<float>& q, Index position, Index stored) {
    const BatchRow row = {0, stored - 1};
    std::vector<float> out(2 * kD);
    paged_attention(text_.context, text_.layout, 0, {.heads = 2, .logits = {kScale}}, {&row, 1}, {q.data(), 1, 2 * kD},
                    text_.tables, {out.data(), 1, 2 * kD});
    double distance = 0, length = 0;
    for (std::size_t d = 0; d < kD; ++d) {
      const double value{text_.values[static_cast<std::size_t>(position * kD) + d]};
      distance += std::pow(double{out[d]} - value, 2);
      length += std::pow(value, 2);
    }
    return distance < length / 4;
  }
  Text text_;
  std::vector<std::byte> bytes_, memory_;
};

TEST(VotedNeedle, IsFoundWhereThePromptsEndAsksForItAndLostWhereNobodyDid) {
  flush_subnormals();
  Ledger ledger(LedgerCaps{.ram = 64_MiB});
  ThreadPool pool(2);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  for (const KvType type : {KvType::kF16, KvType::kQ8, KvType::kQ4}) {
    for (const KvSelect& select : {KvSelect{KvMethod::kH2O, 0, Needles::kRead},
                                   KvSelect{KvMethod::kSnapKv, 0, Needles::kRead, Needles::kAsking}}) {
      Needles needles(context, type, select);
      const Needles::Found asked = needles.found(true), later = needles.found(false);
      std::printf("%s %s: of %ld needles full attention finds %d, what is kept %d; asked for later %d\n",
                  std::string(name(type)).c_str(), name(select).c_str(), static_cast<long>(Needles::kTrials), asked.all,
                  asked.kept, later.kept);
      EXPECT_GE(asked.all, Needles::kTrials / 2) << "or there is little to lose";
      EXPECT_GE(asked.kept * 100, asked.all * 95) << name(type) << " " << name(select);
      EXPECT_LE(later.kept * 2, later.all) << "what nobody looked at is mostly gone";
    }
  }
}

}  // namespace
}  // namespace jericho
