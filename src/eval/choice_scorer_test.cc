// Log-likelihoods of choices: right against a plain computation in double, and the same bits however they are batched.
#include "eval/choice_scorer.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/log_probability.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::HasSubstr;

class ChoiceScorerTest : public testing::Test {
 protected:
  ChoiceScorerTest() : model_(Model::random(machine_.context, small_config(), layout_, 3)) {
    unsigned seed = 1;
    for (const auto& [context, lengths] : std::vector<std::pair<Index, std::vector<Index>>>{
             {1, {1, 2}}, {40, {3, 17, 1}}, {7, {5, 5, 5, 5}}, {33, {20, 2}}}) {
      EncodedQuestion question = {.line = static_cast<Index>(seed), .context = tokens(context, seed)};
      for (const Index length : lengths) question.continuations.push_back(tokens(length, ++seed * 77));
      questions_.push_back(std::move(question));
    }
  }
  static std::vector<TokenId> tokens(Index count, unsigned seed) {
    return random_tokens(count, small_config().vocab_size, seed);
  }
  [[nodiscard]] Plan plan(const InferenceWish& wish) const {
    return std::get<Plan>(plan_inference(small_config(), layout_, {.threads = 2}, 1_GiB, wish));
  }
  std::vector<std::vector<double>> score(const InferenceWish& wish, const std::stop_token& stop = {}) const {
    Session session(machine_.context, *model_, plan(wish), KvBacking::kPopulate);
    return choice_log_likelihoods(machine_.context, session, questions_,
                                  {.context = *wish.context, .sequences = wish.sequences}, stop, {});
  }
  // One forward() over the whole input, then softmax by libm.
  [[nodiscard]] double plainly(const EncodedQuestion& question, std::size_t choice, Index context) {
    Session session(machine_.context, *model_, plan({.context = 64, .chunk = 64, .all_logits = true}),
                    KvBacking::kPopulate);
    const auto& targets = question.continuations[choice];
    std::vector<TokenId> input = question.context;
    input.insert(input.end(), targets.begin(), targets.end());
    input.pop_back();
    while (static_cast<Index>(input.size()) > context) input.erase(input.begin());
    const BatchItem item = {session.open(), input, LogitRows::kAll};
    const MatrixView<const float> logits = session.forward({&item, 1});
    double sum = 0;
    for (std::size_t t = 0; t < targets.size(); ++t) {
      const auto row = logits.row(static_cast<Index>(input.size() - targets.size() + t));
      double norm = 0;
      for (const float logit : row) norm += std::exp(static_cast<double>(logit));
      sum += static_cast<double>(row[static_cast<std::size_t>(targets[t])]) - std::log(norm);
    }
    return sum;
  }

  TestMachine machine_{2};
  WeightLayout layout_ = WeightLayout::of_shape(small_config(), DType::kQ8_0);
  std::unique_ptr<Model> model_;
  std::vector<EncodedQuestion> questions_;
};

TEST_F(ChoiceScorerTest, AgreesWithAPlainComputationInDouble) {
  const auto scores = score({.context = 64, .sequences = 4, .chunk = 64, .all_logits = true});
  for (std::size_t q = 0; q < questions_.size(); ++q) {
    ASSERT_EQ(scores[q].size(), questions_[q].continuations.size());
    for (std::size_t c = 0; c < scores[q].size(); ++c)
      EXPECT_NEAR(scores[q][c], plainly(questions_[q], c, 64), 1e-9) << q << " " << c;
  }
}

TEST_F(ChoiceScorerTest, GivesTheSameBitsAloneAndInAnyBatch) {
  const auto alone = score({.context = 64, .chunk = 64, .all_logits = true});
  for (const Index sequences : {1, 2, 3, 16}) {
    for (const Index chunk : {1, 5, 64, 200}) {
      EXPECT_EQ(score({.context = 64, .sequences = sequences, .chunk = chunk, .all_logits = true}), alone)
          << sequences << " sequences, chunks of " << chunk;
    }
  }
}

TEST_F(ChoiceScorerTest, CutsWhatDoesNotFitAtTheLeft) {
  const auto scores = score({.context = 20, .sequences = 2, .chunk = 16, .all_logits = true});
  EXPECT_NEAR(scores[1][1], plainly(questions_[1], 1, 20), 1e-9);
  EXPECT_NEAR(scores[3][0], plainly(questions_[3], 0, 20), 1e-9);  // 20 targets: one id of the context is left
  EXPECT_NE(scores[1][1], plainly(questions_[1], 1, 64));
}

TEST_F(ChoiceScorerTest, RefusesAChoiceLongerThanTheContext) {
  try {
    score({.context = 19, .sequences = 2, .chunk = 16, .all_logits = true});
    FAIL() << "20 tokens were scored in a context of 19";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), HasSubstr("choice 0 has 20 tokens, the context holds 19"));
  }
}

TEST_F(ChoiceScorerTest, RefusesAnIdThatTheModelDoesNotHave) {
  questions_[2].continuations[3].back() = 320;  // scored, never read
  try {
    score({.context = 64, .sequences = 2, .chunk = 16, .all_logits = true});
    FAIL() << "id 320 of a vocabulary of 320 was scored";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("token id 320 of the text is not in the model's vocabulary of 320"));
  }
}

TEST_F(ChoiceScorerTest, StopsWhenAsked) {
  std::stop_source source;
  source.request_stop();
  try {
    score({.context = 64, .chunk = 64, .all_logits = true}, source.get_token());
    FAIL() << "the stop request was not looked at";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
}

TEST(LogProbability, AgreesWithDoubleAndDoesNotOverflow) {
  const std::vector<float> logits = {1000.0f, 999.0f, -1000.0f};
  EXPECT_NEAR(log_probability(logits, 0), -std::log1p(std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(log_probability(logits, 1), -1 - std::log1p(std::exp(-1.0)), 1e-12);
  EXPECT_THROW(log_probability(logits, -1), Error);
  EXPECT_THROW(log_probability(logits, 3), Error);
}

}  // namespace
}  // namespace jericho
