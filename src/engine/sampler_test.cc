// The sampler: each step against numbers worked out by hand, the order of steps, the distribution of draws, and that a
// draw depends on seed, choice and position alone.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
const std::vector<float> kLogits = {2, 1, 0, -1};  // the example that most tests work out

// Every step off, temperature 1: the plain softmax.
SamplingOptions plain() { return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0}; }

// Random logits between -5 and 5.
std::vector<float> some_logits(Index vocab, std::uint64_t seed) {
  std::vector<float> logits;
  for (Index i = 0; i < vocab; ++i) {
    logits.push_back(static_cast<float>(10 * draw_uniform(seed, 0, i, 0, DrawPurpose::kToken) - 5));
  }
  return logits;
}

// What is left of `logits` after the chain, by token: probabilities, or the logits themselves.
std::map<TokenId, double> probabilities(Sampler& sampler, const std::vector<float>& logits = kLogits,
                                        Index position = 0) {
  sampler.sample(logits, position);
  std::map<TokenId, double> left;
  for (const Candidate& candidate : sampler.candidates()) left[candidate.id] = candidate.probability;
  return left;
}
std::map<TokenId, double> probabilities(const SamplingOptions& options, const std::vector<float>& logits = kLogits) {
  Sampler sampler(options, std::ssize(logits));
  return probabilities(sampler, logits);
}
std::map<TokenId, float> logits_after(Sampler& sampler, const std::vector<float>& logits = kLogits) {
  sampler.sample(logits, 0);
  std::map<TokenId, float> left;
  for (const Candidate& candidate : sampler.candidates()) left[candidate.id] = candidate.logit;
  return left;
}
std::vector<TokenId> kept(const SamplingOptions& options, const std::vector<float>& logits = kLogits) {
  std::vector<TokenId> tokens;
  for (const auto& [token, probability] : probabilities(options, logits)) tokens.push_back(token);
  return tokens;
}

TEST(Sampler, GivesTheSoftmaxWithoutAnyStep) {
  const auto p = probabilities(plain());
  EXPECT_NEAR(p.at(0), 0.643914, 5e-7);
  EXPECT_NEAR(p.at(1), 0.236883, 5e-7);
  EXPECT_NEAR(p.at(2), 0.087144, 5e-7);
  EXPECT_NEAR(p.at(3), 0.032059, 5e-7);
}

TEST(TopK, KeepsTheLargestAndTheLowerIdOfEquals) {
  SamplingOptions options = plain();
  options.top_k = 2;
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  EXPECT_THAT(kept(options, {1, 5, 3, 3, 3}), ElementsAre(1, 2));
  EXPECT_THAT(kept(options, {3, 3, 3, 5, 3}), ElementsAre(0, 3));
  options.order = parse_sampler_order("mk");  // from a list, not from the dense logits
  options.min_p = 1e-9;
  EXPECT_THAT(kept(options, {3, 3, 3, 5, 3}), ElementsAre(0, 3));
  options.top_k = 100;
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2, 3));
}

TEST(TopK, EqualsSortingForManyLogits) {
  const Index vocab = 5000;
  const auto logits = some_logits(vocab, 1);
  std::vector<TokenId> ids(static_cast<std::size_t>(vocab));
  for (Index i = 0; i < vocab; ++i) ids[i] = static_cast<TokenId>(i);
  std::sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  for (const Index k : {1, 2, 40, 999, 4999, 5000, 6000}) {
    SamplingOptions options = plain();
    options.top_k = k;
    Sampler sampler(options, vocab);
    sampler.sample(logits, 0);
    ASSERT_EQ(std::ssize(sampler.candidates()), std::min(k, vocab));
    for (Index i = 0; i < std::ssize(sampler.candidates()); ++i) ASSERT_EQ(sampler.candidates()[i].id, ids[i]) << k;
  }
}

TEST(TopP, KeepsTheShortestRunThatReachesP) {
  SamplingOptions options = plain();
  options.top_p = 0.8;  // 0.6439 < 0.8 <= 0.8808
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  options.top_p = 0.64;
  EXPECT_THAT(kept(options), ElementsAre(0));
  options.min_keep = 3;
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2));
}

TEST(TopP, EqualsAFullSortForManyLogits) {
  const Index vocab = 5000;
  const auto logits = some_logits(vocab, 2);
  for (const double p : {0.01, 0.3, 0.9, 0.999999}) {
    SamplingOptions options = plain();
    options.top_p = p;
    Sampler sampler(options, vocab);
    const auto in_runs = probabilities(sampler, logits);
    options.top_k = vocab;  // sorts first
    Sampler sorting(options, vocab);
    const auto sorted_first = probabilities(sorting, logits);
    ASSERT_NEAR(static_cast<double>(in_runs.size()), static_cast<double>(sorted_first.size()), 1) << p;
    for (const auto& [token, probability] : in_runs) {
      if (sorted_first.contains(token)) {
        ASSERT_NEAR(probability, sorted_first.at(token), 1e-6);
      }
    }
  }
}

TEST(MinP, KeepsWhatIsWithinAFactorOfTheBest) {
  SamplingOptions options = plain();
  options.min_p = 0.1;  // 2 + ln 0.1 = -0.302585
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2));
  options.min_p = 0.5;
  EXPECT_THAT(kept(options), ElementsAre(0));
  options.min_keep = 2;
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
}

TEST(Typical, PrefersTokensWhoseInformationIsNearTheEntropy) {
  SamplingOptions options = plain();  // H = 0.947537; distances 0.507347, 0.492653, 1.492653, 2.492653
  options.typical_p = 0.2;
  EXPECT_THAT(kept(options), ElementsAre(1));
  options.typical_p = 0.5;
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  options.typical_p = 0.9;
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2));
  options.typical_p = 0.2;
  options.min_keep = 2;
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
}

TEST(TopNSigma, KeepsWhatIsWithinDeviationsOfTheBest) {
  SamplingOptions options = plain();  // sigma = 1.118034
  options.top_n_sigma = 1;
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  EXPECT_THAT(kept(options, {2, 1, 0, -1, kForbidden}), ElementsAre(0, 1));  // forbidden tokens do not count
  options.order = parse_sampler_order("ks");
  options.top_k = 4;  // the same from a list
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  options.top_n_sigma = 2;
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2));
}

TEST(Temperature, DividesTheLogits) {
  SamplingOptions options = plain();
  options.temperature = 0.5;
  const auto p = probabilities(options);
  EXPECT_NEAR(p.at(0), 0.864955, 5e-7);
  EXPECT_NEAR(p.at(1), 0.117059, 5e-7);
  EXPECT_NEAR(p.at(2), 0.015842, 5e-7);
  EXPECT_NEAR(p.at(3), 0.002144, 5e-7);
}

TEST(Temperature, IsMovedByTheEntropyWhenDynamic) {
  SamplingOptions options = plain();
  options.dynatemp_range = 0.5;
  options.dynatemp_exponent = 2;
  Sampler sampler(options, 4);
  const double share = 0.947537 / std::log(4);
  const double T = 0.5 + share * share;
  EXPECT_NEAR(logits_after(sampler).at(0), 2 / T, 1e-5);
  EXPECT_THAT(probabilities(options, {0, 50, 0, 0}).at(1), ::testing::DoubleNear(1, 1e-12));
  options.dynatemp_range = 2;  // the lowest temperature is zero: no entropy, no draw
  EXPECT_THAT(kept(options, {0, 5000, 0, 0}), ElementsAre(1));
}

TEST(Order, DecidesWhatTopPSees) {
  SamplingOptions options = plain();
  options.temperature = 0.5;
  options.top_p = 0.8;
  options.order = vllm_order();
  EXPECT_THAT(kept(options), ElementsAre(0));
  options.order = llama_cpp_order();
  const auto p = probabilities(options);
  ASSERT_EQ(p.size(), 2u);
  EXPECT_NEAR(p.at(0), 0.880797, 5e-7);
  EXPECT_NEAR(p.at(1), 0.119203, 5e-7);
}

TEST(Order, LeavesOutTheStepsItDoesNotName) {
  SamplingOptions options = plain();
  options.temperature = 0.5;
  options.top_k = 1;
  options.order = parse_sampler_order("t");
  EXPECT_NEAR(probabilities(options).at(3), 0.002144, 5e-7);
  options.order = {};
  EXPECT_NEAR(probabilities(options).at(3), 0.032059, 5e-7);
}

TEST(Penalties, FollowTheFormula) {
  SamplingOptions options = plain();
  options.repeat_penalty = 2;
  options.frequency_penalty = 0.5;
  options.presence_penalty = 0.25;
  Sampler sampler(options, 4);
  for (const TokenId token : {0, 3, 0}) sampler.accept(token);
  const auto logits = logits_after(sampler);
  EXPECT_FLOAT_EQ(logits.at(0), -0.25f);  // 2/2 - 2*0.5 - 0.25
  EXPECT_FLOAT_EQ(logits.at(3), -2.75f);  // -1*2 - 0.5 - 0.25
  EXPECT_FLOAT_EQ(logits.at(1), 1);
  options.order = parse_sampler_order("ke");  // the same from a list, put in order again
  options.top_k = 4;
  Sampler after_top_k(options, 4);
  for (const TokenId token : {0, 3, 0}) after_top_k.accept(token);
  EXPECT_EQ(logits_after(after_top_k), logits);
  EXPECT_EQ(after_top_k.candidates()[0].id, 1);
}

TEST(Penalties, ForgetWhatHasLeftTheWindow) {
  SamplingOptions options = plain();
  options.frequency_penalty = 1;
  options.repeat_last_n = 2;
  Sampler sampler(options, 4);
  sampler.accept_prompt(std::vector<TokenId>{0, 0, 1});
  sampler.accept(2);
  const auto logits = logits_after(sampler);
  EXPECT_EQ(logits, (std::map<TokenId, float>{{0, 2}, {1, 0}, {2, -1}, {3, -1}}));
}

TEST(Penalties, CountNothingOrEverythingAtTheEndsOfTheRange) {
  SamplingOptions options = plain();
  options.frequency_penalty = 1;
  options.repeat_last_n = 0;
  Sampler none(options, 4);
  options.repeat_last_n = -1;
  Sampler all(options, 4);
  for (int i = 0; i < 100; ++i) none.accept(0), all.accept(0);
  EXPECT_EQ(logits_after(none).at(0), 2);
  EXPECT_EQ(logits_after(all).at(0), -98);
}

TEST(Penalties, CountTheOutputAloneWhereAsked) {
  SamplingOptions options = plain();
  options.repeat_penalty = 2;
  options.presence_penalty = 1;
  options.repeat_last_n = -1;
  options.penalty_scope = PenaltyScope::kOutput;
  Sampler sampler(options, 4);
  sampler.accept_prompt(std::vector<TokenId>{0, 0});
  sampler.accept(1);
  const auto logits = logits_after(sampler);
  EXPECT_FLOAT_EQ(logits.at(0), 1);      // repeated, but not in the output
  EXPECT_FLOAT_EQ(logits.at(1), -0.5f);  // 1/2 - 1
}

// Tokens a b c y z as 0..4.
SamplingOptions dry_options() {
  SamplingOptions options = plain();
  options.dry_multiplier = 0.8;
  return options;
}
const std::vector<TokenId> kRepeating = {0, 1, 2, 2, 1, 2, 3, 0, 1, 2};  // a b c c b c y a b c
const std::vector<float> kZeros = {0, 0, 0, 0, 0};

TEST(Dry, PenalizesByTheLengthOfTheRepetition) {
  Sampler sampler(dry_options(), 5);
  sampler.accept_prompt(kRepeating);
  const auto logits = logits_after(sampler, kZeros);
  EXPECT_FLOAT_EQ(logits.at(2), -1.4f);  // c after a b c: r = 3, 0.8 * 1.75
  EXPECT_FLOAT_EQ(logits.at(3), -0.8f);  // y after b c: r = 2
  EXPECT_EQ(logits.at(1), 0);            // b after c: r = 1, allowed
  EXPECT_EQ(logits.at(0), 0);
}

TEST(Dry, LooksBackNoFurtherThanAsked) {
  SamplingOptions options = dry_options();
  options.dry_penalty_last_n = 7;  // c b c y a b c: of a b c c nothing is left
  Sampler sampler(options, 5);
  sampler.accept_prompt(kRepeating);
  const auto logits = logits_after(sampler, kZeros);
  EXPECT_EQ(logits.at(2), 0);
  EXPECT_FLOAT_EQ(logits.at(3), -0.8f);
}

TEST(Dry, StopsAtBreakersAndNeverPenalizesThem) {
  Sampler broken(dry_options(), 5, {false, true, false, false, false});  // b: the suffix is c alone
  broken.accept_prompt(kRepeating);
  for (const auto& [token, logit] : logits_after(broken, kZeros)) EXPECT_EQ(logit, 0) << token;
  Sampler spared(dry_options(), 5, {false, false, false, true, false});  // y
  spared.accept_prompt(kRepeating);
  const auto logits = logits_after(spared, kZeros);
  EXPECT_EQ(logits.at(3), 0);
  EXPECT_FLOAT_EQ(logits.at(2), -1.4f);
}

TEST(Dry, StaysFiniteForLongRepetitions) {
  SamplingOptions options = dry_options();
  options.dry_penalty_last_n = -1;
  Sampler sampler(options, 5);
  for (int i = 0; i < 2000; ++i) sampler.accept(0);
  sampler.sample(kZeros, 0);
  for (const Candidate& candidate : sampler.candidates()) {
    EXPECT_TRUE(std::isfinite(candidate.logit));
    EXPECT_EQ(candidate.probability, candidate.id == 0 ? 0 : 0.25);
  }
}

TEST(Dry, FindsBreakersInThePieces) {
  const std::vector<std::string> pieces = {"a", "b\n", "::", "\"", ""};
  const std::vector<std::string> breakers = {"\n", ":", ""};
  const auto marked = dry_breaker_tokens(breakers, 5, [&](TokenId id) { return pieces[id]; });
  EXPECT_THAT(marked, ElementsAre(false, true, true, false, false));
}

TEST(Xtc, DropsAllButTheLeastOfTheTopChoices) {
  SamplingOptions options = plain();
  options.xtc_probability = 1;
  options.xtc_threshold = 0.08;  // 0, 1 and 2 reach it
  EXPECT_THAT(kept(options), ElementsAre(2, 3));
  options.min_keep = 3;
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2, 3));
  options.min_keep = 0;
  options.xtc_threshold = 0.3;  // one alone is no choice
  EXPECT_THAT(kept(options), ElementsAre(0, 1, 2, 3));
}

TEST(Xtc, ActsAsOftenAsItsProbabilitySays) {
  SamplingOptions options = plain();
  options.xtc_probability = 0.3;
  options.seed = 7;
  Sampler sampler(options, 4);
  int acted = 0;
  for (Index position = 0; position < 10'000; ++position) {
    sampler.sample(kLogits, position);
    acted += sampler.candidates().size() < 4 ? 1 : 0;
  }
  EXPECT_NEAR(acted, 3000, 4 * std::sqrt(10'000 * 0.3 * 0.7));
}

TEST(Greedy, TakesTheLargestAndTheLowerIdOfEquals) {
  for (const double temperature : {0.0, -1.0, 1e-6}) {
    for (const auto& order : {llama_cpp_order(), vllm_order(), parse_sampler_order("k"), parse_sampler_order("")}) {
      Sampler sampler({.temperature = temperature, .order = order}, 5);
      EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3, 3}, 0), 1);
      ASSERT_EQ(sampler.candidates().size(), 1u);
      EXPECT_EQ(sampler.candidates()[0].probability, 1);
    }
  }
}

TEST(Greedy, StillHearsPenaltiesBiasAndXtc) {
  SamplingOptions options{.temperature = 0, .top_k = 3, .repeat_penalty = 10};
  Sampler sampler(options, 4);
  sampler.accept(0);
  EXPECT_EQ(sampler.sample(kLogits, 0), 1);
  options.logit_bias = {{2, 5.0f}};
  EXPECT_EQ(Sampler(options, 4).sample(kLogits, 0), 2);
  options = {.temperature = 0, .xtc_probability = 1, .order = parse_sampler_order("x")};
  EXPECT_EQ(Sampler(options, 4).sample(kLogits, 0), 1);  // 0.64 and 0.24 reach 0.1: the first goes
}

TEST(LogitBias, AddsAndForbids) {
  SamplingOptions options = plain();
  options.logit_bias = {{1, 2.5f}, {0, kForbidden}};
  Sampler sampler(options, 4);
  EXPECT_EQ(logits_after(sampler), (std::map<TokenId, float>{{1, 3.5f}, {2, 0}, {3, -1}}));
}

TEST(LogitBias, OfATokenBeyondTheVocabularyIsRefused) {
  SamplingOptions options = plain();
  options.logit_bias = {{4, 1.0f}};
  EXPECT_THROW(Sampler(options, 4), Error);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  Sampler sampler(plain(), 3);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    try {
      sampler.sample(std::vector<float>{0, bad, 0}, 12);
      FAIL() << "accepted " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), HasSubstr("position 12"));
    }
  }
}

TEST(Sampler, RefusesWhenEveryTokenIsForbidden) {
  EXPECT_THROW(Sampler(plain(), 2).sample(std::vector<float>{kForbidden, kForbidden}, 0), Error);
  SamplingOptions options = plain();
  options.logit_bias = {{0, kForbidden}};
  EXPECT_THROW(Sampler(options, 2).sample(std::vector<float>{1, kForbidden}, 0), Error);
}

TEST(Sampler, NeverDrawsAForbiddenToken) {
  for (const Index top_k : {0, 3}) {
    SamplingOptions options = plain();
    options.top_k = top_k;
    Sampler sampler(options, 4);
    for (Index i = 0; i < 200; ++i)
      EXPECT_EQ(sampler.sample(std::vector<float>{kForbidden, kForbidden, 0, kForbidden}, i), 2);
  }
}

TEST(Sampler, SurvivesExtremeLogitsAndOptions) {
  constexpr float kMax = std::numeric_limits<float>::max();
  SamplingOptions options = plain();
  options.temperature = 1e-4;
  options.logit_bias = {{0, kMax}};
  options.repeat_penalty = 1e-30;
  Sampler sampler(options, 4);
  for (const TokenId token : {0, 1, 2, 3}) sampler.accept(token);
  EXPECT_EQ(sampler.sample(std::vector<float>{kMax, -kMax, -kMax, -kMax}, 0), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{kForbidden, -kMax, kForbidden, kForbidden}, 0), 1);
}

TEST(SamplerDeathTest, TakesNoLogitsOfAnotherVocabulary) {
  Sampler sampler(plain(), 3);
  EXPECT_DEATH(sampler.sample(kLogits, 0), "vocabulary 3");
  EXPECT_DEATH(sampler.accept(3), "vocabulary 3");
}

// Pearson's statistic of 100,000 draws against the softmax; 99.9 % of fair samplers stay below the bound for 15
// degrees.
TEST(Draw, FollowsTheProbabilities) {
  const Index vocab = 16;
  const auto logits = some_logits(vocab, 5);
  for (const Index top_k : {Index{0}, vocab}) {  // by ascending id, and by descending probability
    SamplingOptions options = plain();
    options.top_k = top_k;
    options.seed = 1234567890123456789u;
    Sampler sampler(options, vocab);
    std::vector<double> drawn(static_cast<std::size_t>(vocab));
    constexpr Index kDraws = 100'000;
    for (Index position = 0; position < kDraws; ++position) drawn[sampler.sample(logits, position)] += 1;
    double statistic = 0;
    for (const auto& [token, p] : probabilities(sampler, logits)) {
      const double expected = p * kDraws;
      statistic += (drawn[token] - expected) * (drawn[token] - expected) / expected;
    }
    EXPECT_LT(statistic, 37.7);
  }
}

TEST(Draw, DependsOnSeedChoiceAndPositionAlone) {
  const auto logits = some_logits(1000, 6);
  SamplingOptions options = plain();
  options.seed = 42;
  const auto draws = [&](const SamplingOptions& with) {
    Sampler sampler(with, 1000);
    std::vector<TokenId> tokens;
    for (Index position = 0; position < 50; ++position) tokens.push_back(sampler.sample(logits, position));
    return tokens;
  };
  const auto expected = draws(options);
  Sampler backwards(options, 1000);
  for (Index position = 49; position >= 0; --position) {
    backwards.sample(some_logits(1000, 7), position + 3);  // other work in between
    EXPECT_EQ(backwards.sample(logits, position), expected[position]);
    EXPECT_EQ(backwards.sample(logits, position), expected[position]);
  }
  SamplingOptions other = options;
  other.seed = 43;
  EXPECT_NE(draws(other), expected);
  other.seed = 42 + (std::uint64_t{1} << 32);
  EXPECT_NE(draws(other), expected);
  other = options;
  other.choice = 1;
  EXPECT_NE(draws(other), expected);
}

TEST(Draw, UniformIsAFunctionOfEveryArgument) {
  const double u = draw_uniform(1, 2, 3, 4, DrawPurpose::kToken);
  EXPECT_EQ(u, draw_uniform(1, 2, 3, 4, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(0, 2, 3, 4, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(1 + (std::uint64_t{1} << 32), 2, 3, 4, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(1, 0, 3, 4, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(1, 2, 0, 4, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(1, 2, 3, 0, DrawPurpose::kToken));
  EXPECT_NE(u, draw_uniform(1, 2, 3, 4, DrawPurpose::kXtc));
}

// FNV-1a over draws with every step on: the same for every compiler, processor and build.
TEST(Draw, GivesTheSameTokensEverywhere) {
  SamplingOptions options{.temperature = 0.9,
                          .top_k = 400,
                          .top_p = 0.97,
                          .min_p = 0.01,
                          .typical_p = 0.98,
                          .top_n_sigma = 3,
                          .repeat_penalty = 1.1,
                          .presence_penalty = 0.1,
                          .frequency_penalty = 0.1,
                          .dry_multiplier = 0.8,
                          .xtc_probability = 0.5,
                          .dynatemp_range = 0.3,
                          .seed = 99};
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const auto& order : {llama_cpp_order(), vllm_order()}) {
    options.order = order;
    Sampler sampler(options, 1000);
    for (Index position = 0; position < 500; ++position) {
      const TokenId token = sampler.sample(some_logits(1000, static_cast<std::uint64_t>(position)), position);
      sampler.accept(token);
      hash = (hash ^ static_cast<std::uint64_t>(token)) * 0x100000001b3u;
    }
  }
  EXPECT_EQ(hash, 1370719695610488854u);
}

// Both versions steer the mean surprise, in bits, towards tau.
TEST(Mirostat, HoldsTheSurpriseAtItsTarget) {
  const Index vocab = 2000;
  std::vector<float> zipf;  // p_i proportional to 1 / (i+1)^1.1, the law that version 1 assumes
  for (Index i = 0; i < vocab; ++i) zipf.push_back(static_cast<float>(-1.1 * std::log(static_cast<double>(i + 1))));
  for (const int version : {1, 2}) {
    for (const double tau : {2.0, 4.0}) {
      SamplingOptions options = plain();
      options.mirostat = version;
      options.mirostat_tau = tau;
      Sampler sampler(options, vocab);
      double bits = 0;
      constexpr Index kTokens = 4000;
      for (Index position = 0; position < kTokens; ++position) {
        const TokenId token = sampler.sample(zipf, position);
        const auto chosen = sampler.candidates();
        const auto found =
            std::find_if(chosen.begin(), chosen.end(), [&](const Candidate& c) { return c.id == token; });
        bits -= std::log2(found->probability);
        sampler.accept(token);
      }
      EXPECT_NEAR(bits / kTokens, tau, 0.1) << "version " << version;
    }
  }
}

TEST(Mirostat, TwoDropsWhatSurprisesMoreThanMu) {
  SamplingOptions options = plain();  // -log2 p = 0.635, 2.078, 3.520, 4.963
  options.mirostat = 2;
  options.mirostat_tau = 1.5;  // mu = 3
  options.top_k = 1;           // has no say
  EXPECT_THAT(kept(options), ElementsAre(0, 1));
  options.mirostat_tau = 0.1;
  EXPECT_THAT(kept(options), ElementsAre(0));
}

TEST(Mirostat, OneFollowsThePapersK) {
  // Exactly Zipf's law with exponent 2 over 50 tokens: k = ((2^mu) / (1 - 50^-1))^(1/2).
  std::vector<float> zipf;
  for (int i = 1; i <= 50; ++i) zipf.push_back(static_cast<float>(-2 * std::log(i)));
  SamplingOptions options = plain();
  options.mirostat = 1;
  options.mirostat_tau = 2;  // mu = 4: k = sqrt(16 / 0.98) = 4.04
  EXPECT_THAT(kept(options, zipf), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(kept(options, std::vector<float>(50, 1.0f)).size(), 50u);  // uniform: nothing to cut
  EXPECT_THAT(kept(options, {kForbidden, 1}), ElementsAre(1));
}

TEST(Mirostat, LearnsOnlyFromTheTokenThatWasAccepted) {
  SamplingOptions options = plain();
  options.mirostat = 2;
  options.mirostat_tau = 1.5;
  options.mirostat_eta = 1;
  Sampler sampler(options, 4);
  const TokenId token = sampler.sample(kLogits, 0);
  sampler.sample(kLogits, 0);
  EXPECT_EQ(sampler.candidates().size(), 2u);  // asking again changes nothing
  sampler.accept((token + 1) % 4);             // another token was forced
  sampler.sample(kLogits, 1);
  EXPECT_EQ(sampler.candidates().size(), 2u);
  Sampler steered(options, 4);
  std::size_t fewest = 4, most = 0;
  for (Index position = 0; position < 50; ++position) {
    steered.accept(steered.sample(kLogits, position));
    fewest = std::min(fewest, steered.candidates().size());
    most = std::max(most, steered.candidates().size());
  }
  EXPECT_LT(fewest, most);
}

TEST(Mirostat, IsGreedyAtTemperatureZero) {
  for (const int version : {1, 2}) {
    Sampler sampler({.temperature = 0, .mirostat = version}, 4);
    for (Index position = 0; position < 20; ++position) {
      const TokenId token = sampler.sample(kLogits, position);
      EXPECT_EQ(token, 0);
      sampler.accept(token);
    }
  }
}

TEST(Sampler, ForetellsItsMemoryByWhetherItListsTheVocabulary) {
  SamplingOptions plain;
  plain.top_k = 0;
  EXPECT_GE(Sampler(plain, 128'000).memory_bytes(8192).count, 128'000 * 16);
  plain.temperature = 0;
  EXPECT_LT(Sampler(plain, 128'000).memory_bytes(8192).count, 600'000);
  plain.typical_p = 0.5;  // lists the vocabulary before the most probable token is taken
  EXPECT_GE(Sampler(plain, 128'000).memory_bytes(8192).count, 128'000 * 16);
  EXPECT_LT(Sampler(SamplingOptions{}, 128'000).memory_bytes(8192).count, 600'000);
  SamplingOptions counting;
  counting.repeat_penalty = 1.1;
  EXPECT_GT(Sampler(counting, 128'000).memory_bytes(8192), Sampler(SamplingOptions{}, 128'000).memory_bytes(8192));
}

}  // namespace
}  // namespace jericho
