// Attention of every path and page type against the reference, bit for bit, and the reference against double.
#include "kernels/attention.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/attention_cases.h"
#include "kernels/bit_equal.h"
#include "kernels/emulated_amx.h"
#include "kernels/kernels.h"

namespace jericho {
namespace {

class AttentionOnPath : public testing::TestWithParam<std::tuple<TestedPath, KvTypes>> {
 protected:
  void SetUp() override { flush_subnormals(); }
  static const Kernels& kernels() { return std::get<0>(GetParam()).kernels; }
  static KvTypes type() { return std::get<1>(GetParam()); }

  static void expect_reference(const Cache& cache, Index head_dim, Index heads, Index begin, Index end,
                               Values values = Values::kPlain, float soft_cap = 0) {
    expect_reference(cache.head(), head_dim, heads, begin, end, values, soft_cap, head_dim);
  }
  // The first `columns` of the values, soft-capped or not.
  static void expect_reference(const KvHead& kv, Index head_dim, Index heads, Index begin, Index end, Values values,
                               float soft_cap, Index columns) {
    expect_reference(kv, head_dim, {end - 1, end - begin, heads}, 1, values, soft_cap, columns);
  }
  static void expect_reference(const KvHead& kv, Index head_dim, const QueryTokens& tokens, Index count,
                               Values values = Values::kPlain, float soft_cap = 0, Index columns = 0) {
    if (columns == 0) columns = head_dim;
    const Index stride = tokens.heads * head_dim + 3;  // between tokens
    const std::vector<float> q = random_row(count * stride, 99, values);
    std::vector<float> expected(q.size(), 9.0f);
    std::vector<float> actual(expected);
    const AttentionLogits logits = {1.0f / std::sqrt(static_cast<float>(head_dim)), soft_cap};
    const MatrixView<const float> queries(q.data(), count, tokens.heads * head_dim, stride);
    ref::attention(kv, tokens, logits, queries, {expected.data(), count, tokens.heads * columns, stride});
    kernels().attention(kv, tokens, logits, queries, {actual.data(), count, tokens.heads * columns, stride});
    ASSERT_THAT(actual, BitEqual(expected)) << "D " << head_dim << " heads " << tokens.heads << " tokens " << count
                                            << " from " << tokens.position << " window " << tokens.window;
  }
};
INSTANTIATE_TEST_SUITE_P(Paths, AttentionOnPath,
                         testing::Combine(testing::ValuesIn(tested_paths()), testing::ValuesIn(kPageTypes)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" + test_name(std::get<1>(test.param));
                         });

TEST_P(AttentionOnPath, EqualsReferenceForEveryHeadDimension) {
  for (const Index D : {1, 2, 7, 8, 16, 24, 32, 48, 64, 80, 128, 200, 256, 512}) {
    const Cache cache(type(), D, 100, 1);
    for (const Index heads : {1, 4}) expect_reference(cache, D, heads, 0, 100);
  }
}

TEST_P(AttentionOnPath, EqualsReferenceAroundPagesAndBlocks) {
  const Cache cache(type(), 64, 200, 2);
  for (const Index end : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 79, 80, 81, 127, 128, 129, 192, 193, 200}) {
    expect_reference(cache, 64, 2, 0, end);
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForWindows) {
  const Cache cache(type(), 32, 200, 3);
  for (const Index begin : {1, 15, 16, 17, 40, 63, 64, 65, 100, 127, 128, 130}) {
    for (const Index end : {131, 144, 160, 192, 199}) expect_reference(cache, 32, 3, begin, end);
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForValuesOfAnotherType) {
  for (const KvType values : kKvTypes) {
    const Cache cache({type().keys, values}, 48, 150, 27);
    expect_reference(cache, 48, 3, 0, 150);
    expect_reference(cache.head(), 48, {70, 40, 4}, 60);
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForEveryNumberOfHeads) {
  const Cache cache(type(), 48, 90, 4);
  for (const Index heads : {1, 2, 3, 4, 5, 7, 8, 9, 16}) expect_reference(cache, 48, heads, 0, 90);
}

TEST_P(AttentionOnPath, EqualsReferenceForTokensThatShareTheirLoads) {
  const Cache cache(type(), 64, 300, 20);
  for (const Index heads : {1, 3, 4, 5}) {
    for (const auto& [position, count] : {std::pair<Index, Index>{0, 1}, {0, 9}, {60, 8}, {120, 37}}) {
      expect_reference(cache.head(), 64, {position, 0, heads}, count);
    }
  }
  expect_reference(cache.head(), 64, {70, 0, 33}, 3);  // more rows than go together
}

TEST_P(AttentionOnPath, EqualsReferenceForTokensWithWindows) {
  const Cache cache(type(), 48, 300, 21);
  for (const Index window : {1, 15, 33, 64, 65, 128}) {
    for (const Index heads : {1, 4}) {
      for (const Index position : {0, 50, 130}) expect_reference(cache.head(), 48, {position, window, heads}, 20);
    }
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForTokensOfEveryHeadDimension) {
  for (const Index D : {1, 2, 7, 24, 31, 32, 33, 80, 96, 128, 200, 256, 576}) {
    const Cache cache(type(), D, 80, 22);
    for (const Index heads : {1, 3}) expect_reference(cache.head(), D, {60, 0, heads}, 11);
    expect_reference(cache.head(), D, {60, 0, 16}, 2);
  }
}

TEST_P(AttentionOnPath, EqualsReferenceWhereLaterTokensStoredSpecialValues) {
  const Cache special(type(), 64, 130, 23, Values::kSpecial);  // what a token does not see must not spoil it
  for (const Index heads : {1, 4}) {
    for (const Index position : {0, 40, 90}) {
      expect_reference(special.head(), 64, {position, 0, heads}, 19);
      expect_reference(special.head(), 64, {position, 20, heads}, 19, Values::kSpecial, 30.0f);
    }
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForManyRowsOfEveryPairOfTypes) {
  struct Case {
    Index D, tokens, heads, position, window;
    float soft_cap;
  };
  const std::array<Case, 8> cases = {{{64, 21, 1, 90, 0, 0},
                                      {80, 7, 8, 60, 0, 30},
                                      {96, 11, 4, 120, 70, 0},
                                      {128, 4, 8, 126, 0, 0},
                                      {256, 33, 1, 50, 40, 2},
                                      {33, 9, 4, 61, 0, 0},
                                      {40, 2, 4, 130, 0, 0},
                                      {64, 1, 16, 95, 0, 0}}};
  for (const KvType values : kKvTypes) {
    for (const Case& c : cases) {
      const Cache cache({type().keys, values}, c.D, c.position + c.tokens, 30);
      ASSERT_NO_FATAL_FAILURE(
          expect_reference(cache.head(), c.D, {c.position, c.window, c.heads}, c.tokens, Values::kPlain, c.soft_cap));
    }
    const Cache special({type().keys, values}, 64, 150, 31, Values::kSpecial);
    expect_reference(special.head(), 64, {125, 0, 4}, 11);
    expect_reference(special.head(), 64, {100, 50, 8}, 4, Values::kSpecial, 30.0f);
  }
}

// A sum of -0 shows the sign of what is added to it, and the chain of a half block may end in -0. Positions that a
// token does not see are skipped: added with a weight of zero, they would make +0 of it.
TEST_P(AttentionOnPath, KeepsTheSignOfAZeroWherePositionsAreSkipped) {
  constexpr Index kD = 32, kHeads = 8, kLength = 104;
  constexpr float kTiny = 1.2e-38f;  // half of it is subnormal, and flushed
  std::vector<std::vector<float>> keys(kLength, std::vector<float>(kD)), values(kLength, std::vector<float>(kD, -1.0f));
  std::vector<float> q(kHeads * kD);
  for (std::size_t h = 0; h < kHeads; ++h) q[h * kD] = 1;
  // The second block's logits leave nothing of the first, whose sums become -0. All weights but one are about a half.
  for (std::size_t j = 64; j < kLength; ++j) {
    keys[j][0] = j == 96 ? 128.0f : 127.5f;
    values[j].assign(kD, j == 96 ? 0.0f : j < 99 ? -kTiny : 1.0f);
  }
  for (const Index position : {98, 100}) {
    const Cache cache({type().keys, KvType::kBF16}, kD, keys, values);
    std::vector<float> expected(q.size()), actual(q.size());
    const MatrixView<const float> queries(q.data(), 1, kHeads * kD);
    ref::attention(cache.head(), {position, 0, kHeads}, {1}, queries, {expected.data(), 1, kHeads * kD});
    kernels().attention(cache.head(), {position, 0, kHeads}, {1}, queries, {actual.data(), 1, kHeads * kD});
    EXPECT_THAT(actual, BitEqual(expected));
    const std::vector<float> minus_zero(q.size(), -0.0f);
    if (position == 98) {
      EXPECT_THAT(expected, BitEqual(minus_zero));
    }
  }
}

TEST_P(AttentionOnPath, GivesTheSameBitsWhenThePositionsComeInParts) {
  for (const auto& [D, columns] : {std::pair<Index, Index>{40, 40}, {64, 64}, {48, 33}}) {
    const Cache cache(type(), D, 500, 24);
    KvHead kv = cache.head();
    if (columns < D && type().keys != KvType::kQ4C) kv.value_offset = kv.key_offset;
    for (const Index window : {0, 300}) {
      for (const auto& [position, count] : {std::pair<Index, Index>{450, 1}, {449, 19}}) {
        constexpr Index kHeads = 5;
        const QueryTokens whole{position, window, kHeads};
        const Index stride = kHeads * D;
        const std::vector<float> q = random_row(count * stride, 25);
        const MatrixView<const float> queries(q.data(), count, stride);
        std::vector<float> expected(q.size(), 9.0f), actual(q.size(), 0.0f);
        const MatrixView<float> out(actual.data(), count, kHeads * columns, stride);
        ref::attention(kv, whole, {0.2f, 20.0f}, queries, {expected.data(), count, kHeads * columns, stride});
        std::vector<float> state;
        for (Index i = 0; i < count * kHeads; ++i) state.insert(state.end(), {-INFINITY, 0.0f});
        const std::array<Index, 5> ends = {128, 192, 256, 448, std::numeric_limits<Index>::max()};
        Index from = 0;
        for (const Index to : ends) {
          QueryTokens tokens = whole;
          tokens.part = {from, to, {state.data(), count, 2 * kHeads}, to == ends.back()};
          if (tokens.begin(0) < to) kernels().attention(kv, tokens, {0.2f, 20.0f}, queries, out);
          from = to;
        }
        for (Index t = 0; t < count; ++t) {
          const auto row = [&](const std::vector<float>& rows) {
            return std::vector<float>(rows.begin() + t * stride, rows.begin() + t * stride + kHeads * columns);
          };
          ASSERT_THAT(row(actual), BitEqual(row(expected))) << "D " << D << " window " << window << " token " << t;
        }
      }
    }
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForSpecialValues) {
  const Cache plain(type(), 64, 130, 5);
  const Cache special(type(), 64, 130, 6, Values::kSpecial);
  expect_reference(plain, 64, 4, 0, 130, Values::kSpecial);
  expect_reference(special, 64, 4, 0, 130);
  expect_reference(special, 64, 4, 0, 130, Values::kSpecial);
}

TEST_P(AttentionOnPath, EqualsReferenceForSoftCappedLogits) {
  const Cache plain(type(), 48, 200, 13);
  const Cache special(type(), 48, 130, 14, Values::kSpecial);
  for (const float cap : {0.5f, 50.0f}) {
    for (const Index heads : {1, 4}) {
      expect_reference(plain, 48, heads, 0, 200, Values::kPlain, cap);
      expect_reference(plain, 48, heads, 70, 199, Values::kPlain, cap);
      expect_reference(special, 48, heads, 0, 130, Values::kSpecial, cap);
    }
  }
}

TEST_P(AttentionOnPath, EqualsReferenceForValuesThatAreTheFirstColumnsOfTheKeys) {
  if (type().keys == KvType::kQ4C) GTEST_SKIP() << "keys per channel are no values";
  for (const auto& [width, columns] : {std::pair<Index, Index>{576, 512}, {40, 33}, {24, 16}, {50, 1}}) {
    const Cache cache(type(), width, 100, 15);
    KvHead latent = cache.head();
    latent.value_offset = latent.key_offset;
    for (const Index heads : {1, 4, 16}) expect_reference(latent, width, heads, 0, 100, Values::kPlain, 0, columns);
  }
}

// How many tile products a call takes, of 64 columns.
Index tile_products(KvTypes type, const QueryTokens& tokens, Index count, Values values = Values::kPlain) {
  const Cache cache(type, 64, tokens.position + count, 32, values);
  const Index width = tokens.heads * 64, before = products_on_emulated_tiles();
  const std::vector<float> q = random_row(count * width, 33);
  std::vector<float> out(q.size());
  attention_on_emulated_tiles(cache.head(), tokens, {0.125f}, {q.data(), count, width}, {out.data(), count, width});
  return products_on_emulated_tiles() - before;
}

TEST(AttentionOnTiles, TakesThemFromEightRowsOnWhereATypeHasProducts) {
  if (tested_paths().back().name == "avx2" || tested_paths().back().name == "scalar") GTEST_SKIP() << "no AVX-512";
  flush_subnormals();
  constexpr Index kExtra = 4;  // of the stream of integer dots
  const auto of_block = [](KvTypes type, Index heads) { return tile_products(type, {63, 0, heads}, 1); };
  EXPECT_EQ(of_block(KvType::kBF16, 8), 4 * 2 + 4 * 2);  // pages by units, columns by halves
  EXPECT_EQ(of_block(KvType::kBF16, 32), 2 * (4 * 2 + 4 * 2));
  EXPECT_EQ(of_block(KvType::kBF16, 7), 0);
  EXPECT_EQ(of_block(KvType::kQ8, 8), 4 * 2 + kExtra);
  EXPECT_EQ(of_block({KvType::kQ4, KvType::kBF16}, 8), 4 * 2 + kExtra + 4 * 2);
  EXPECT_EQ(of_block({KvType::kF16, KvType::kBF16}, 8), 4 * 2);
  EXPECT_EQ(of_block({KvType::kBF16, KvType::kF32}, 8), 4 * 2);
  EXPECT_EQ(of_block(KvType::kF16, 32), 0);
  EXPECT_EQ(of_block({KvType::kF32, KvType::kQ8}, 32), 0);
}

TEST(AttentionOnTiles, TokensThatSeeDifferentPositionsTakeThemUnlessAValueIsNotFinite) {
  if (tested_paths().back().name == "avx2" || tested_paths().back().name == "scalar") GTEST_SKIP() << "no AVX-512";
  flush_subnormals();
  const KvTypes types = {KvType::kF16, KvType::kBF16};
  EXPECT_EQ(tile_products(types, {40, 0, 8}, 2), 4 * 2);
  EXPECT_EQ(tile_products(types, {40, 0, 8}, 2, Values::kSpecial), 0);
}

TEST(Attention, NarrowerValuesAreTheFirstColumnsOfAllOfThem) {
  flush_subnormals();
  for (const KvType type : kKvTypes) {
    const Cache cache(type, 40, 90, 16);
    const std::vector<float> q = random_row(40, 17);
    std::vector<float> all(40), first(40, 9.0f);
    ref::attention(cache.head(), {89, 0, 1}, {0.2f}, {q.data(), 1, 40}, {all.data(), 1, 40});
    ref::attention(cache.head(), {89, 0, 1}, {0.2f}, {q.data(), 1, 40}, {first.data(), 1, 33});
    std::fill(all.begin() + 33, all.end(), 9.0f);  // left alone
    EXPECT_THAT(first, BitEqual(all)) << name(type);
  }
}

TEST(Attention, KeysAndValuesAreReadEachInTheirOwnType) {
  flush_subnormals();
  constexpr Index kD = 32;
  const Cache cache({KvType::kF32, KvType::kQ4}, kD, 1, 28);  // of one position: the output is its value
  const std::vector<float> q = random_row(kD, 29);
  std::vector<float> out(kD);
  ref::attention(cache.head(), {0, 0, 1}, {0.2f}, {q.data(), 1, kD}, {out.data(), 1, kD});
  EXPECT_THAT(out, BitEqual(cache.stored(0, true)));
  EXPECT_EQ(name(KvTypes(KvType::kF32, KvType::kQ4)), "f32/q4");
  EXPECT_EQ(name(KvTypes(KvType::kQ8)), "q8");
}

TEST(Attention, ASoftCapActsOnTheScaledLogits) {
  flush_subnormals();
  const Cache cache(KvType::kF32, 32, 20, 18);
  const std::vector<float> q = random_row(32, 19);
  std::vector<float> out(32);
  ref::attention(cache.head(), {19, 0, 1}, {0.5f, 2.0f}, {q.data(), 1, 32}, {out.data(), 1, 32});
  std::vector<double> p;
  double sum = 0;
  for (Index j = 0; j < 20; ++j) {
    double dot = 0;
    for (std::size_t d = 0; d < 32; ++d) dot += double{q[d]} * double{cache.stored(j, false)[d]};
    p.push_back(std::exp(2 * std::tanh(dot * 0.5 / 2)));
    sum += p.back();
  }
  for (std::size_t d = 0; d < 32; ++d) {
    double exact = 0;
    for (Index j = 0; j < 20; ++j) exact += p[static_cast<std::size_t>(j)] / sum * double{cache.stored(j, true)[d]};
    EXPECT_NEAR(double{out[d]}, exact, 1e-5);
  }
}

TEST(Attention, ReferenceIsNearTheFormulaInDouble) {
  flush_subnormals();
  constexpr Index kD = 64;
  constexpr Index kLength = 150;
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16}) {
    const Cache cache(type, kD, kLength, 7);
    const std::vector<float> q = random_row(kD, 8);
    std::vector<float> out(kD);
    const float scale = 0.125f;
    ref::attention(cache.head(), {kLength - 1, 0, 1}, {scale}, {q.data(), 1, kD}, {out.data(), 1, kD});
    // Logits: the dot of D products has D / 16 + 5 roundings in lanes (bf16: 16 + 2 + D / 32 in chains, and u = 2^-8
    // for q itself) of sum |q k|; the softmax turns a logit's error e into a relative one of at most exp(2 e) - 1. exp,
    // sum and the products add one rounding per position and block (bf16: 2^-8 for p); 6 more for exp and 2 for the
    // quotient.
    const bool bf16 = type == KvType::kBF16;
    double largest_error = 0;
    std::vector<double> p;
    for (Index j = 0; j < kLength; ++j) {
      const std::vector<float> key = cache.stored(j, false);
      double dot = 0;
      double magnitude = 0;
      for (std::size_t d = 0; d < kD; ++d) {
        dot += double{q[d]} * double{key[d]};
        magnitude += std::abs(double{q[d]} * double{key[d]});
      }
      const double roundings = bf16 ? 16.0 + 2 + kD / 32.0 : kD / 16.0 + 5;
      const double error = (roundings * 0x1p-24 + (bf16 ? 0x1p-8 : 0.0)) * magnitude * double{scale};
      largest_error = std::max(largest_error, error);
      p.push_back(dot * double{scale});
    }
    const double maximum = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& weight : p) sum += weight = std::exp(weight - maximum);
    const double relative = std::exp(2 * largest_error) - 1 + (kLength + 3 * 3 + 8.0) * 0x1p-23 + (bf16 ? 0x1p-8 : 0.0);
    for (std::size_t d = 0; d < kD; ++d) {
      double exact = 0;
      double magnitude = 0;
      for (Index j = 0; j < kLength; ++j) {
        const double term = p[static_cast<std::size_t>(j)] / sum * double{cache.stored(j, true)[d]};
        exact += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(double{out[d]}, exact, relative * magnitude) << name(type) << " d " << d;
    }
  }
}

TEST(Attention, PositionsOutsideTheWindowChangeNothing) {
  flush_subnormals();
  for (const KvType type : kKvTypes) {
    const Cache shorter(type, 32, 80, 9);
    const Cache longer(type, 32, 160, 9);  // the same positions, and more
    const std::vector<float> q = random_row(32, 10);
    std::vector<float> a(32);
    std::vector<float> b(32);
    ref::attention(shorter.head(), {79, 75, 1}, {0.2f}, {q.data(), 1, 32}, {a.data(), 1, 32});
    ref::attention(longer.head(), {79, 75, 1}, {0.2f}, {q.data(), 1, 32}, {b.data(), 1, 32});
    EXPECT_THAT(b, BitEqual(a)) << name(type);
  }
}

// The same products in another order: columns of q and keys, or positions.
TEST(Attention, AnotherOrderGivesOtherBits) {  // negative control
  flush_subnormals();
  constexpr Index kD = 128, kHeads = 8, kLength = 64;
  const auto groups_reversed = [](const std::vector<float>& row) {  // of 32, so that scales stay
    std::vector<float> turned;
    for (auto at = std::ssize(row) - 32; at >= 0; at -= 32)
      turned.insert(turned.end(), row.begin() + at, row.begin() + at + 32);
    return turned;
  };
  const auto halves_reversed = [](std::vector<std::vector<float>> rows) {
    for (auto at = rows.begin(); at != rows.end(); at += 32) std::reverse(at, at + 32);
    return rows;
  };
  const auto attention_of = [](const Cache& cache, const std::vector<float>& q) {
    std::vector<float> out(kHeads * kD);
    ref::attention(cache.head(), {kLength - 1, 0, kHeads}, {0.02f}, {q.data(), 1, kHeads * kD},
                   {out.data(), 1, kHeads * kD});
    return out;
  };
  std::vector<std::vector<float>> keys = Cache::rows(kD, kLength, 34, Values::kPlain), turned_keys;
  const std::vector<std::vector<float>> values = Cache::rows(kD, kLength, 35, Values::kPlain);
  for (const std::vector<float>& key : keys) turned_keys.push_back(groups_reversed(key));
  std::vector<float> q, turned_q;
  for (unsigned h = 0; h < kHeads; ++h) {
    const std::vector<float> head = random_row(kD, 36 + h), turned = groups_reversed(head);
    q.insert(q.end(), head.begin(), head.end());
    turned_q.insert(turned_q.end(), turned.begin(), turned.end());
  }
  for (const KvType type : {KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
    const std::vector<float> straight = attention_of(Cache(type, kD, keys, values), q);
    const std::vector<float> columns = attention_of(Cache(type, kD, turned_keys, values), turned_q);
    const std::vector<float> positions =
        attention_of(Cache(type, kD, halves_reversed(keys), halves_reversed(values)), q);
    for (const std::vector<float>& other : {columns, positions}) {
      EXPECT_GE(first_difference(straight, other), 0) << name(type);
      for (std::size_t d = 0; d < straight.size(); ++d) EXPECT_NEAR(straight[d], other[d], 1e-2f);
    }
  }
}

TEST(Attention, BlocksAlignedElsewhereGiveOtherBits) {  // negative control
  flush_subnormals();
  // The same 128 keys and values one page further back: the blocks fall elsewhere.
  const Cache cache(KvType::kF32, 32, 160, 11);
  const KvHead head = cache.head();
  const std::vector<float> q = random_row(32, 12);
  std::vector<float> a(32);
  std::vector<float> b(32);
  ref::attention(head, {143, 128, 1}, {0.01f}, {q.data(), 1, 32}, {a.data(), 1, 32});
  KvHead moved = head;
  moved.pages = moved.pages.subspan(1);
  ref::attention(moved, {127, 0, 1}, {0.01f}, {q.data(), 1, 32}, {b.data(), 1, 32});
  EXPECT_GE(first_difference(a, b), 0);
  for (std::size_t d = 0; d < 32; ++d) EXPECT_NEAR(a[d], b[d], 1e-5f);
}

}  // namespace
}  // namespace jericho
