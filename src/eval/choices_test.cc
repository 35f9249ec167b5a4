// Texts to ids by lm-eval's rules, and accuracies from given log-likelihoods.
#include "eval/choices.h"

#include <cmath>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/same_tokenizer.h"
#include "text/load_tokenizer.h"
#include "text/test_files.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> byte_level() {
  return load_tokenizer_directory(text_fixture("testdata/byte-level"));  // " the" and "hello" are pieces; adds BOS
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.push_back(tokenizer.piece(id));
  return texts;
}

TEST(EncodeQuestion, PutsASpaceBeforeAChoiceAndBosBeforeTheContext) {
  const auto tokenizer = byte_level();
  const EncodedQuestion encoded = encode_question(*tokenizer, {1, "hello", {"the", " the", "he"}, 0});
  EXPECT_THAT(pieces(*tokenizer, encoded.context), ElementsAre("<|begin|>", "hello"));
  EXPECT_THAT(pieces(*tokenizer, encoded.continuations[0]), ElementsAre(" the"));
  EXPECT_EQ(encoded.continuations[1], encoded.continuations[0]);  // it has its space
  EXPECT_EQ(pieces(*tokenizer, encoded.continuations[2]).front().front(), ' ');
}

TEST(EncodeQuestion, MovesWhiteSpaceAtTheContextsEndToTheChoice) {
  const auto tokenizer = byte_level();
  const EncodedQuestion spaced = encode_question(*tokenizer, {1, "hello ", {"the", "he"}, 0});
  const EncodedQuestion plain = encode_question(*tokenizer, {1, "hello", {"the", "he"}, 0});
  EXPECT_EQ(spaced.context, plain.context);
  EXPECT_EQ(spaced.continuations, plain.continuations);
  const EncodedQuestion line = encode_question(*tokenizer, {1, "hello\u00A0\n", {"he", "a"}, 0});
  EXPECT_EQ(line.context, plain.context);
  EXPECT_EQ(tokenizer->decode(line.continuations[0]), "\u00A0\nhe");
}

TEST(EncodeQuestion, OfAnEmptyContextBeginsWithBos) {
  const auto tokenizer = byte_level();
  const EncodedQuestion encoded = encode_question(*tokenizer, {1, "", {"the", "a"}, 0});
  EXPECT_THAT(pieces(*tokenizer, encoded.context), ElementsAre("<|begin|>"));
  EXPECT_THAT(pieces(*tokenizer, encoded.continuations[0]), ElementsAre(" the"));
}

TEST(EncodeQuestion, WithNothingToBeginWithIsRefused) {
  const auto tokenizer = load_tokenizer_file(text_fixture("testdata/tiktoken/tokenizer.model"));  // no BOS, no EOS
  ASSERT_FALSE(tokenizer->bos() || tokenizer->eos());
  try {
    encode_question(*tokenizer, {7, "", {"the", "a"}, 0});
    FAIL() << "an input without a first token";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("line 7: the context is empty"));
  }
}

TEST(EncodeQuestion, PutsNoEndOfTextAfterContextOrChoice) {
  const auto tokenizer = load_tokenizer_directory(text_fixture("testdata/sentencepiece"));  // adds <s> and </s>
  ASSERT_EQ(tokenizer->encode("").size(), 2u);
  const EncodedQuestion encoded = encode_question(*tokenizer, {1, "a", {"a", "b"}, 0});
  EXPECT_EQ(encoded.context.front(), *tokenizer->bos());
  EXPECT_NE(encoded.context.back(), *tokenizer->eos());
  EXPECT_NE(encoded.continuations[0].back(), *tokenizer->eos());
}

TEST(EncodeQuestion, CountsInputsAndThoseThatDoNotFit) {
  const std::vector<EncodedQuestion> encoded = {{1, {1, 2, 3}, {{4}, {5, 6}}}, {2, {1}, {{4, 5, 6}, {7}}}};
  EXPECT_EQ(input_tokens(encoded[0], 0), 3);
  EXPECT_EQ(input_tokens(encoded[0], 1), 4);
  EXPECT_EQ(longest_input(encoded), 4);
  EXPECT_EQ(truncated_questions(encoded, 4), 0);
  EXPECT_EQ(truncated_questions(encoded, 3), 1);
  EXPECT_EQ(truncated_questions(encoded, 2), 2);
}

// Four questions whose answers differ by rule.
struct Sheet {
  std::vector<ChoiceQuestion> questions = {{1, "", {"aaaa", "b"}, 0},
                                           {2, "", {"aaaa", "b"}, 1},
                                           {3, "", {"\u00E9\u00E9", "bbb"}, 0},
                                           {4, "", {"x", "y", "z", "w"}, 0}};
  std::vector<EncodedQuestion> encoded = {
      {1, {1}, {{2, 3}, {4}}}, {2, {1}, {{2, 3}, {4}}}, {3, {1}, {{2}, {3}}}, {4, {1}, {{2}, {3}, {4}, {5}}}};
  std::vector<std::vector<double>> log_likelihoods = {{-6, -4}, {-6, -4}, {-6, -8}, {-5, -5, -5, -5}};
};

TEST(Accuracy, TakesTheLargestSumAndTheLargestPerCharacterAndPerToken) {
  const Sheet sheet;
  const ChoiceAccuracy result = accuracy(sheet.questions, sheet.encoded, sheet.log_likelihoods);
  EXPECT_THAT(result.right, ElementsAre(0, 1, 1, 1));       // -4 beats -6 in both of the first two
  EXPECT_THAT(result.right_norm, ElementsAre(1, 0, 0, 1));  // -6/4 beats -4/1; é is one character, not two bytes
  EXPECT_DOUBLE_EQ(result.acc.mean, 0.75);
  EXPECT_DOUBLE_EQ(result.acc_norm.mean, 0.5);
  EXPECT_DOUBLE_EQ(result.acc_token.mean, 0.75);  // -6/2 beats -4/1 in the first two
  EXPECT_NEAR(result.acc.standard_error, std::sqrt(0.75 * 0.25 / 3), 1e-15);
}

TEST(Accuracy, TellsChanceAndTheGoldAnswersLogLikelihood) {
  const Sheet sheet;
  const ChoiceAccuracy result = accuracy(sheet.questions, sheet.encoded, sheet.log_likelihoods);
  EXPECT_DOUBLE_EQ(result.chance, (0.5 + 0.5 + 0.5 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(result.gold.mean, (-6 - 4 - 6 - 5) / 4.0);
  EXPECT_EQ(result.questions, 4);
  EXPECT_EQ(result.choices, 10);
}

TEST(TokenizerDifference, IsNothingForTheSameTokenizer) {
  const auto a = byte_level();
  const auto b = byte_level();
  EXPECT_EQ(tokenizer_difference(*a, *b, "hello the", a->encode("hello the")), std::nullopt);
}

TEST(TokenizerDifference, NamesTheFirstPieceThatDiffers) {
  const auto a = byte_level();
  const auto b = load_tokenizer_directory(text_fixture("testdata/metaspace"));
  EXPECT_THAT(tokenizer_difference(*a, *b, "a", a->encode("a")).value_or(""), HasSubstr(" here and "));
}

TEST(TokenizerDifference, NamesTheFirstIdOfTheTextThatDiffers) {
  const auto a = byte_level();
  auto ids = a->encode("hello the");
  ids.pop_back();
  EXPECT_THAT(tokenizer_difference(*a, *a, "hello the", ids).value_or(""), HasSubstr("token 2 of the text is its end"));
}

}  // namespace
}  // namespace jericho
