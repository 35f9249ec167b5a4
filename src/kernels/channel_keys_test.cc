// Keys per channel: their codes, and attention to them on every path against the reference, bit for bit, and of the
// reference against double.
#include "kernels/channel_keys.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/attention_cases.h"
#include "kernels/bit_equal.h"
#include "kernels/kernels.h"

namespace jericho {
namespace {

constexpr KvTypes kTypes(KvType::kQ4C, KvType::kQ4);

// A block of f16 keys, then in codes.
class KeyBlock {
 public:
  template <class Key>
  KeyBlock(Index head_dim, const Key& key) : head_dim_(head_dim) {
    const std::size_t full = kv_tile_bytes(KvType::kF16, head_dim).size();
    const std::size_t coded = kv_tile_bytes(KvType::kQ4C, head_dim).size();
    std::vector<float> row(static_cast<std::size_t>(head_dim));
    std::array<std::byte*, kBlockPages> out{};
    for (std::size_t t = 0; t < kBlockPages; ++t) {
      full_[t].resize(full);
      coded_[t].assign(coded + 16, std::byte{0x77});
      out[t] = coded_[t].data();
      for (Index slot = 0; slot < kPageTokens; ++slot) {
        for (Index d = 0; d < head_dim; ++d)
          row[static_cast<std::size_t>(d)] = key(static_cast<Index>(t) * kPageTokens + slot, d);
        kv_store(KvType::kF16, row.data(), head_dim, slot, full_[t].data());
      }
    }
    code_key_block(tiles(full_), head_dim, out);
  }
  [[nodiscard]] ChannelCode code(Index j, Index d) const { return channel_code(tiles(coded_), head_dim_, j, d); }
  [[nodiscard]] float value(Index j, Index d) const {
    const ChannelCode key = code(j, d);
    return static_cast<float>(key.code) * to_float(key.scale) + to_float(key.least);
  }
  [[nodiscard]] bool kept_to_its_tiles() const {
    return std::all_of(coded_.begin(), coded_.end(), [](const std::vector<std::byte>& bytes) {
      return std::all_of(bytes.end() - 16, bytes.end(), [](std::byte b) { return b == std::byte{0x77}; });
    });
  }

 private:
  using Tiles = std::array<std::vector<std::byte>, kBlockPages>;
  static KeyTiles tiles(const Tiles& of) { return {of[0].data(), of[1].data(), of[2].data(), of[3].data()}; }
  Index head_dim_;
  Tiles full_, coded_;
};

float half(float x) { return to_float(to_f16(x)); }

TEST(KeysPerChannel, AreCodedColumnByColumnWithinHalfAStepOfTheirRange) {
  flush_subnormals();
  for (const Index D : {1, 2, 3, 5, 8, 17, 33, 64, 80, 128, 130}) {
    const std::vector<float> x = random_row(kAttentionBlock * D, 3);
    // One column is a thousand times as large as the others, which do not notice.
    const auto key = [&](Index j, Index d) { return x[static_cast<std::size_t>(j * D + d)] * (d == 1 ? 1000 : 1); };
    const KeyBlock block(D, key);
    EXPECT_TRUE(block.kept_to_its_tiles()) << "D " << D;
    for (Index d = 0; d < D; ++d) {
      float least = half(key(0, d)), most = least;
      for (Index j = 0; j < kAttentionBlock; ++j)
        least = std::min(least, half(key(j, d))), most = std::max(most, half(key(j, d)));
      const float step = half((most - least) / 15);
      for (Index j = 0; j < kAttentionBlock; ++j) {
        const ChannelCode code = block.code(j, d);
        ASSERT_EQ(to_float(code.least), least) << "D " << D << " column " << d;
        ASSERT_EQ(to_float(code.scale), step);
        ASSERT_GE(code.code, 0);
        ASSERT_LE(code.code, 15);
        // Half a step; the rounded step may end 15 of its errors before the largest value.
        ASSERT_NEAR(block.value(j, d), half(key(j, d)), step * (0.5f + 15 * 0x1p-11f)) << "D " << D << " column " << d;
      }
    }
  }
}

TEST(KeysPerChannel, TakeTheBytesOfFourBitsPerTokenWhereHeadsAreWholeGroups) {
  for (const Index D : {32, 64, 128, 256})
    EXPECT_EQ(kv_tile_bytes(KvType::kQ4C, D), kv_tile_bytes(KvType::kQ4, D)) << D;
  EXPECT_EQ(kv_row_bytes(KvType::kQ4C, 8), 5_B);
  EXPECT_EQ(kv_row_bytes(KvType::kQ4C, 128), 72_B);
}

TEST(KeysPerChannel, AreExactWhereAColumnIsConstantOrHasSixteenEvenSteps) {
  flush_subnormals();
  const KeyBlock block(3, [](Index j, Index d) {
    return d == 0 ? -3.25f : d == 1 ? static_cast<float>(j % 16) : -0.0f;
  });
  for (Index j = 0; j < kAttentionBlock; ++j) {
    EXPECT_EQ(block.value(j, 0), -3.25f);
    EXPECT_EQ(block.value(j, 1), static_cast<float>(j % 16));
    EXPECT_EQ(block.code(j, 2).least.bits, 0) << "a zero is +0";
  }
}

TEST(KeysPerChannel, SpoilAColumnThatIsNotFiniteAndNoOther) {
  flush_subnormals();
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e6f}) {
    const KeyBlock block(4, [&](Index j, Index d) { return d == 2 && j == 37 ? bad : static_cast<float>(j % 16); });
    for (Index j = 0; j < kAttentionBlock; ++j) {
      EXPECT_TRUE(std::isnan(block.value(j, 2)));
      EXPECT_EQ(block.code(j, 2).code, 0);
      EXPECT_EQ(block.value(j, 1), static_cast<float>(j % 16));
      EXPECT_EQ(block.value(j, 3), static_cast<float>(j % 16));
    }
  }
}

TEST(KeysPerChannel, AreSeenInFullFromTheBlockBeforeOnesOwn) {
  EXPECT_EQ(coded_end(0), 0);
  EXPECT_EQ(coded_end(127), 0);
  EXPECT_EQ(coded_end(128), 64);
  EXPECT_EQ(coded_end(191), 64);
  EXPECT_EQ(coded_end(192), 128);
}

class KeysPerChannelOnPath : public testing::TestWithParam<CpuPath> {
 protected:
  void SetUp() override { flush_subnormals(); }

  static std::vector<float> attend(const KvHead& kv, const QueryTokens& tokens, std::span<const float> q, Index count,
                                   bool reference = false) {
    const Index width = tokens.heads * kv.head_dim;
    std::vector<float> out(q.size(), 9.0f);
    const MatrixView<float> rows(out.data(), count, width);
    const auto attention = reference ? ref::attention : kernels_for(GetParam()).attention;
    attention(kv, tokens, {0.2f, 25.0f}, {q.data(), count, width}, rows);
    return out;
  }
  static void expect_reference(const Cache& cache, const QueryTokens& tokens, Index count,
                               Values values = Values::kPlain) {
    const KvHead kv = cache.head();
    const std::vector<float> q = random_row(count * tokens.heads * kv.head_dim, 99, values);
    ASSERT_THAT(attend(kv, tokens, q, count), BitEqual(attend(kv, tokens, q, count, true)))
        << "D " << kv.head_dim << " heads " << tokens.heads << " tokens " << count << " from " << tokens.position
        << " window " << tokens.window;
  }
};
INSTANTIATE_TEST_SUITE_P(, KeysPerChannelOnPath, testing::ValuesIn(usable_cpu_paths()),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST_P(KeysPerChannelOnPath, EqualReferenceForEveryHeadDimensionAndNumberOfHeads) {
  for (const Index D : {1, 2, 3, 7, 8, 24, 31, 32, 33, 48, 64, 80, 96, 128, 200, 256, 576}) {
    const Cache cache(kTypes, D, 200, 1);
    for (const Index heads : {1, 2, 3, 4, 5}) expect_reference(cache, {199, 0, heads}, 1);
    expect_reference(cache, {185, 0, D < 64 ? 33 : 9}, 4);
  }
}

TEST_P(KeysPerChannelOnPath, EqualReferenceForTokensBetweenWhichABlockChangesItsForm) {
  const Cache cache(kTypes, 64, 400, 2);
  for (const Index heads : {1, 3}) {
    for (const Index position : {120, 127, 128, 185, 191, 250, 319}) {
      for (const Index count : {1, 2, 70}) expect_reference(cache, {position, 0, heads}, count);
    }
  }
}

TEST_P(KeysPerChannelOnPath, EqualReferenceForWindowsThatBeginInABlockOfCodes) {
  const Cache cache(kTypes, 48, 400, 3);
  for (const Index window : {1, 63, 64, 65, 130, 150, 200, 250}) {
    for (const Index position : {130, 250, 300}) {
      expect_reference(cache, {position, window, 1}, 1);
      expect_reference(cache, {position, window, 4}, 30);
    }
  }
}

TEST_P(KeysPerChannelOnPath, EqualReferenceForSpecialValues) {
  const Cache plain(kTypes, 64, 300, 5), special(kTypes, 64, 300, 6, Values::kSpecial);
  expect_reference(plain, {299, 0, 4}, 1, Values::kSpecial);
  expect_reference(special, {299, 0, 4}, 1);
  expect_reference(special, {150, 0, 4}, 60, Values::kSpecial);
}

TEST_P(KeysPerChannelOnPath, GiveATokenTheBitsItHasAloneAndReadNothingInFullThatNoTokenSeesSo) {
  constexpr Index kD = 32, kFirst = 250, kCount = 80;
  Cache cache(kTypes, kD, kFirst + kCount, 8);
  cache.forget_full(coded_end(kFirst));
  const std::vector<float> q = random_row(kCount * 2 * kD, 9);
  const std::vector<float> together = attend(cache.head(), {kFirst, 0, 2}, q, kCount);
  for (Index t = 0; t < kCount; ++t) {
    cache.forget_full(coded_end(kFirst + t));
    const std::span own = std::span(q).subspan(static_cast<std::size_t>(t * 2 * kD), 2 * kD);
    ASSERT_THAT(attend(cache.head(), {kFirst + t, 0, 2}, own, 1),
                BitEqual(std::span(together).subspan(static_cast<std::size_t>(t * 2 * kD), 2 * kD)))
        << "token " << t;
  }
}

TEST(KeysPerChannel, ReferenceIsNearTheFormulaInDouble) {
  flush_subnormals();
  constexpr Index kD = 64, kLength = 300;
  const Cache cache({KvType::kQ4C, KvType::kF32}, kD, kLength, 7);
  const std::vector<float> q = random_row(kD, 8);
  double largest_key = 0;
  for (Index j = 0; j < kLength; ++j) {
    for (const float x : cache.channel_key(j, kLength / kAttentionBlock * kAttentionBlock))
      largest_key = std::max(largest_key, std::abs(double{x}));
  }
  for (const Index position : {127, 128, 191, 299}) {
    std::vector<float> out(kD);
    const float scale = 0.125f;
    ref::attention(cache.head(), {position, 0, 1}, {scale}, {q.data(), 1, kD}, {out.data(), 1, kD});
    // A logit: the chains of D / 2 products of a rounded q s with codes, the lanes of D / 16 + 4, three sums; all
    // relative to the sum of |q| (s code + |least|), at most three times the largest key. The softmax turns its error e
    // into at most exp(2 e) - 1; exp, sums and products add a rounding per position and block.
    double largest_error = 0;
    std::vector<double> p;
    for (Index j = 0; j <= position; ++j) {
      const std::vector<float> key = cache.channel_key(j, coded_end(position));
      double dot = 0, magnitude = 0;
      for (std::size_t d = 0; d < kD; ++d) {
        dot += double{q[d]} * double{key[d]};
        magnitude += 3 * std::abs(double{q[d]}) * largest_key;
      }
      largest_error = std::max(largest_error, (kD / 2.0 + kD / 16.0 + 8) * 0x1p-24 * magnitude * double{scale});
      p.push_back(dot * double{scale});
    }
    const double maximum = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& weight : p) sum += weight = std::exp(weight - maximum);
    const double relative = std::exp(2 * largest_error) - 1 + (static_cast<double>(position) + 3 * 5 + 8.0) * 0x1p-23;
    for (std::size_t d = 0; d < kD; ++d) {
      double exact = 0, magnitude = 0;
      for (Index j = 0; j <= position; ++j) {
        const double term = p[static_cast<std::size_t>(j)] / sum * double{cache.stored(j, true)[d]};
        exact += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(double{out[d]}, exact, relative * magnitude) << "position " << position << " d " << d;
    }
  }
}

TEST(KeysPerChannel, TwoFormsOfABlockGiveOtherBits) {  // negative control
  flush_subnormals();
  constexpr Index kD = 32;
  const Cache cache(kTypes, kD, 129, 11);
  KvHead kv = cache.head();
  const std::vector<float> q = random_row(kD, 12);
  std::vector<float> coded(kD), full(kD);
  ref::attention(kv, {128, 0, 1}, {0.2f}, {q.data(), 1, kD}, {coded.data(), 1, kD});
  const Cache in_full({KvType::kF16, KvType::kQ4}, kD, 129, 11);
  ref::attention(in_full.head(), {128, 0, 1}, {0.2f}, {q.data(), 1, kD}, {full.data(), 1, kD});
  EXPECT_GE(first_difference(coded, full), 0);
  ref::attention(kv, {127, 0, 1}, {0.2f}, {q.data(), 1, kD}, {coded.data(), 1, kD});
  ref::attention(in_full.head(), {127, 0, 1}, {0.2f}, {q.data(), 1, kD}, {full.data(), 1, kD});
  EXPECT_THAT(coded, BitEqual(full)) << "up to 127 all keys are seen in full";
}

}  // namespace
}  // namespace jericho
