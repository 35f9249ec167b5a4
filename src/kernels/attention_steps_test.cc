// Attention in steps, of every path and page type: the bits of attention as a whole, however blocks, columns and heads
// are shared out.
#include "kernels/attention_steps.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention_cases.h"
#include "kernels/bit_equal.h"
#include "kernels/kernels.h"

namespace jericho {
namespace {

constexpr AttentionLogits kLogits = {0.2f};

struct Shares {  // what a thread takes at a time
  Index blocks = 1, columns = 16, heads = 1;
};

class AttentionInSteps : public testing::TestWithParam<std::tuple<CpuPath, KvTypes>> {
 protected:
  void SetUp() override { flush_subnormals(); }
  static KvTypes type() { return std::get<1>(GetParam()); }

  // All steps, the parts of each from the last to the first.
  static void attend(const KvHead& kv, QueryTokens token, AttentionLogits logits, MatrixView<const float> q,
                     MatrixView<float> out, std::span<float> state, Shares shares) {
    const Kernels& kernels = kernels_for(std::get<0>(GetParam()));
    const Index first = token.begin(0) / kAttentionBlock, blocks = ceil_div(token.end(0), kAttentionBlock) - first;
    std::vector<std::vector<float>> rooms;
    const auto take = [&](Index floats) {
      return rooms.emplace_back(static_cast<std::size_t>(floats), std::numeric_limits<float>::quiet_NaN()).data();
    };
    const AttentionSteps steps(token.heads, first, blocks, state, take);
    const auto parts_of = [](Index count, Index share, auto body) {
      for (Index begin = (count - 1) / share * share; begin >= 0; begin -= share)
        body(StepRange{begin, std::min(begin + share, count)});
    };
    parts_of(blocks, shares.blocks,
             [&](StepRange range) { kernels.attention_logits(kv, token, logits, q, range, steps); });
    running_maxima(steps);
    parts_of(blocks, shares.blocks, [&](StepRange range) { kernels.attention_weights(token, range, steps); });
    running_sums(steps);
    const Index width = out.extent(1) / token.heads;
    parts_of(steps.heads(), shares.heads, [&](StepRange heads) {
      const Index count = heads.end - heads.begin;
      parts_of(width, shares.columns, [&](StepRange columns) {
        QueryTokens some = token;
        some.heads = count;
        kernels.attention_values(kv, some, columns, steps.of_heads(heads.begin, count),
                                 out.cols(heads.begin * width, count * width));
      });
    });
  }

  static void expect_whole(const KvHead& kv, const QueryTokens& token, Shares shares, Values values = Values::kPlain,
                           AttentionLogits logits = kLogits, Index columns = 0) {
    if (columns == 0) columns = kv.head_dim;
    const std::vector<float> q = random_row(token.heads * kv.head_dim, 98, values);
    const MatrixView<const float> queries(q.data(), 1, token.heads * kv.head_dim);
    std::vector<float> expected(static_cast<std::size_t>(token.heads * columns), 9.0f), actual(expected), state;
    for (Index h = 0; h < token.heads; ++h) state.insert(state.end(), {-INFINITY, 0.0f});
    ref::attention(kv, token, logits, queries, {expected.data(), 1, token.heads * columns});
    attend(kv, token, logits, queries, {actual.data(), 1, token.heads * columns}, state, shares);
    ASSERT_THAT(actual, BitEqual(expected))
        << "D " << kv.head_dim << " heads " << token.heads << " at " << token.position << " window " << token.window
        << ": " << shares.blocks << " blocks, " << shares.columns << " columns, " << shares.heads << " heads a share";
  }
};
INSTANTIATE_TEST_SUITE_P(Paths, AttentionInSteps,
                         testing::Combine(testing::ValuesIn(usable_cpu_paths()), testing::ValuesIn(kPageTypes)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" + test_name(std::get<1>(test.param));
                         });

TEST_P(AttentionInSteps, EqualsTheWholeAroundBlocks) {
  const Cache cache(type(), 64, 330, 2);
  for (const Index position : {0, 1, 15, 16, 62, 63, 64, 65, 127, 128, 129, 319, 329}) {
    expect_whole(cache.head(), {position, 0, 3}, {1, 16, 1});
    expect_whole(cache.head(), {position, 0, 3}, {2, 32, 2});
    expect_whole(cache.head(), {position, 0, 3}, {100, 64, 3});
  }
}

TEST_P(AttentionInSteps, EqualsTheWholeForWindows) {
  const Cache cache(type(), 48, 300, 3);
  for (const Index window : {1, 15, 33, 64, 65, 128, 200}) {
    for (const Index position : {0, 50, 130, 255, 256, 299})
      expect_whole(cache.head(), {position, window, 2}, {1, 16, 2});
  }
}

TEST_P(AttentionInSteps, EqualsTheWholeForEveryHeadDimensionAndNumberOfHeads) {
  for (const Index D : {1, 2, 7, 24, 31, 32, 33, 80, 96, 128, 200, 256, 576}) {
    const Cache cache(type(), D, 150, 22);
    for (const Index heads : {1, 5, D < 64 ? 33 : 15}) {
      expect_whole(cache.head(), {149, 0, heads}, {1, 16, heads});
      if (D > 64) expect_whole(cache.head(), {149, 0, heads}, {2, 64, 4});
    }
  }
}

TEST_P(AttentionInSteps, EqualsTheWholeForValuesOfAnotherType) {
  for (const KvType values : kKvTypes) {
    const Cache cache({type().keys, values}, 96, 150, 27);
    expect_whole(cache.head(), {149, 100, 3}, {1, 32, 3});
    expect_whole(cache.head(), {149, 0, 6}, {1, 16, 6});
  }
}

TEST_P(AttentionInSteps, EqualsTheWholeForValuesThatAreTheFirstColumnsOfTheKeys) {
  if (type().keys == KvType::kQ4C) GTEST_SKIP() << "keys per channel are no values";
  for (const auto& [width, columns] : {std::pair<Index, Index>{576, 512}, {40, 33}, {24, 16}, {50, 1}}) {
    const Cache cache(type(), width, 100, 15);
    KvHead latent = cache.head();
    latent.value_offset = latent.key_offset;
    for (const Index heads : {1, 16})
      expect_whole(latent, {99, 0, heads}, {1, 32, 4}, Values::kPlain, kLogits, columns);
  }
}

TEST_P(AttentionInSteps, EqualsTheWholeForSpecialValuesAndSoftCaps) {
  const Cache special(type(), 64, 130, 6, Values::kSpecial);
  const Cache plain(type(), 64, 200, 13);
  for (const Values values : {Values::kPlain, Values::kSpecial}) {
    expect_whole(special.head(), {129, 0, 4}, {1, 16, 2}, values);
    expect_whole(special.head(), {129, 70, 4}, {1, 32, 4}, values, {0.2f, 30.0f});
  }
  expect_whole(plain.head(), {199, 0, 2}, {1, 32, 2}, Values::kPlain, {0.2f, 0.5f});
}

TEST_P(AttentionInSteps, CarriesWhatPartsOfThePositionsCarry) {
  constexpr Index kD = 64, kHeads = 5, kPosition = 450;
  const Cache cache(type(), kD, kPosition + 1, 24);
  const std::vector<float> q = random_row(kHeads * kD, 25);
  const MatrixView<const float> queries(q.data(), 1, kHeads * kD);
  for (const Index window : {0, 300}) {
    const QueryTokens whole{kPosition, window, kHeads};
    std::vector<float> expected(q.size()), actual(q.size(), 0.0f), state, state_of_whole;
    for (Index h = 0; h < kHeads; ++h) state.insert(state.end(), {-INFINITY, 0.0f});
    state_of_whole = state;
    QueryTokens carrying = whole;
    carrying.part = {0, std::numeric_limits<Index>::max(), {state_of_whole.data(), 1, 2 * kHeads}, true};
    ref::attention(cache.head(), carrying, {0.2f, 20.0f}, queries, {expected.data(), 1, kHeads * kD});
    Index from = 0;
    for (const Index to : {Index{128}, Index{192}, Index{448}, std::numeric_limits<Index>::max()}) {
      QueryTokens token = whole;
      token.part = {from, to, {state.data(), 1, 2 * kHeads}, to > kPosition};
      if (token.begin(0) < to)
        attend(cache.head(), token, {0.2f, 20.0f}, queries, {actual.data(), 1, kHeads * kD}, state, {1, 32, 2});
      from = to;
    }
    ASSERT_THAT(actual, BitEqual(expected)) << "window " << window;
    EXPECT_THAT(state, BitEqual(state_of_whole)) << "window " << window;
  }
}

}  // namespace
}  // namespace jericho
