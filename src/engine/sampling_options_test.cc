// Options of the sampler: what is refused, with which words, and how an order is written.
#include "engine/sampling_options.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SamplingOptions, AcceptsItsDefaults) { EXPECT_NO_THROW(SamplingOptions{}.validate()); }

TEST(SamplingOptions, NamesFlagValueAndRangeOfWhatItRefuses) {
  try {
    SamplingOptions{.top_p = 1.5}.validate();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_STREQ(error.what(), "--top-p 1.5: expected (0, 1]");
  }
}

TEST(SamplingOptions, RefusesEachValueOutOfRange) {
  const double nan = std::nan("");
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<std::string, SamplingOptions>> cases = {
      {"--temperature", {.temperature = nan}},
      {"--top-k", {.top_k = -2}},
      {"--top-p", {.top_p = 0}},
      {"--top-p", {.top_p = nan}},
      {"--min-p", {.min_p = 1}},
      {"--min-p", {.min_p = -0.1}},
      {"--typical-p", {.typical_p = 0}},
      {"--top-n-sigma", {.top_n_sigma = nan}},
      {"--repeat-penalty", {.repeat_penalty = 0}},
      {"--repeat-last-n", {.repeat_last_n = -2}},
      {"--presence-penalty", {.presence_penalty = 2.1}},
      {"--frequency-penalty", {.frequency_penalty = -2.1}},
      {"--dry-multiplier", {.dry_multiplier = -1}},
      {"--dry-base", {.dry_base = 0.5}},
      {"--dry-allowed-length", {.dry_allowed_length = 0}},
      {"--dry-penalty-last-n", {.dry_penalty_last_n = -2}},
      {"--xtc-probability", {.xtc_probability = 1.1}},
      {"--xtc-threshold", {.xtc_threshold = -0.1}},
      {"--dynatemp-range", {.dynatemp_range = -1}},
      {"--dynatemp-exp", {.dynatemp_exponent = 0}},
      {"--mirostat", {.mirostat = 3}},
      {"--mirostat-tau", {.mirostat_tau = 0}},
      {"--mirostat-eta", {.mirostat_eta = 1.5}},
      {"--min-keep", {.min_keep = -1}},
      {"--logit-bias", {.logit_bias = {{-1, 0.0f}}}},
      {"--logit-bias", {.logit_bias = {{1, infinity}}}},
      {"--logit-bias", {.logit_bias = {{1, std::nanf("")}}}},
  };
  for (const auto& [flag, options] : cases) {
    try {
      options.validate();
      ADD_FAILURE() << flag << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), HasSubstr(flag + " "));
      EXPECT_THAT(error.what(), HasSubstr(": expected "));
    }
  }
}

TEST(SamplingOptions, AcceptsTheEndsOfItsRanges) {
  EXPECT_NO_THROW((SamplingOptions{.temperature = -1,
                                   .top_k = -1,
                                   .top_p = 1,
                                   .min_p = 0,
                                   .typical_p = 1,
                                   .repeat_last_n = -1,
                                   .presence_penalty = -2,
                                   .frequency_penalty = 2,
                                   .dry_base = 1,
                                   .dry_penalty_last_n = -1,
                                   .xtc_probability = 1,
                                   .xtc_threshold = 1,
                                   .logit_bias = {{0, -std::numeric_limits<float>::infinity()}}}
                       .validate()));
}

TEST(SamplerOrder, ReadsNamesAndLetters) {
  using S = SamplerStep;
  EXPECT_THAT(parse_sampler_order("top_k;typ_p;temperature"), ElementsAre(S::kTopK, S::kTypical, S::kTemperature));
  EXPECT_EQ(parse_sampler_order("kyt"), parse_sampler_order("top_k;typical_p;temperature"));
  EXPECT_EQ(parse_sampler_order("penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"),
            llama_cpp_order());
  EXPECT_EQ(parse_sampler_order("edskypmxt"), llama_cpp_order());
  EXPECT_THAT(parse_sampler_order("top_p"), ElementsAre(S::kTopP));
  EXPECT_THAT(parse_sampler_order("top_p;"), ElementsAre(S::kTopP));
  EXPECT_THAT(parse_sampler_order("tt"), ElementsAre(S::kTemperature, S::kTemperature));
  EXPECT_THAT(parse_sampler_order(""), ElementsAre());
}

TEST(SamplerOrder, RefusesUnknownNamesAndLetters) {
  for (const char* text : {"top_q;top_k", "top_k;;top_p", "ki", "top_k,top_p", ";"}) {
    EXPECT_THROW(parse_sampler_order(text), Error) << text;
  }
}

TEST(SamplerOrder, OfVllmTempersBeforeItTruncates) {
  const auto order = vllm_order();
  const auto place = [&](SamplerStep step) { return std::find(order.begin(), order.end(), step) - order.begin(); };
  EXPECT_EQ(order.size(), llama_cpp_order().size());
  EXPECT_LT(place(SamplerStep::kPenalties), place(SamplerStep::kTemperature));
  EXPECT_LT(place(SamplerStep::kTemperature), place(SamplerStep::kMinP));
  EXPECT_LT(place(SamplerStep::kMinP), place(SamplerStep::kTopK));
  EXPECT_LT(place(SamplerStep::kTopK), place(SamplerStep::kTopP));
}

}  // namespace
}  // namespace jericho
