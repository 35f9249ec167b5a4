// Files of choices: the common shapes are read, and what could be read in two ways or in none is refused by line and
// field.
#include "eval/choices_file.h"
#include "base/test_data.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/fuzz_bodies.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(std::string_view text) {
  try {
    parse_choices(text, "f.jsonl");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "no error";
}

Index gold_of(const std::string& choices, const std::string& gold) {
  return parse_choices(R"({"context": "c", "choices": )" + choices + R"(, "label": )" + gold + "}", "f.jsonl")[0].gold;
}

TEST(ChoicesFile, ReadsTheCommonNames) {
  const auto questions = parse_choices(R"({"ctx": "a", "endings": ["x", "y"], "label": "1", "ind": 4}

{"question": "b", "choices": ["x", "y", "z"], "answer": 2}
{"query": "", "choices": ["x", "y"], "gold": 0})",
                                       "f.jsonl");
  ASSERT_EQ(questions.size(), 3u);
  EXPECT_EQ(questions[0].context, "a");
  EXPECT_THAT(questions[1].choices, ElementsAre("x", "y", "z"));
  EXPECT_THAT((std::vector{questions[0].gold, questions[1].gold, questions[2].gold}), ElementsAre(1, 2, 0));
  EXPECT_THAT((std::vector{questions[0].line, questions[1].line, questions[2].line}), ElementsAre(1, 3, 4));
}

TEST(ChoicesFile, TheRightChoiceIsANumberALetterOrItsText) {
  EXPECT_EQ(gold_of(R"(["cat", "dog"])", "1"), 1);
  EXPECT_EQ(gold_of(R"(["cat", "dog"])", R"("B")"), 1);
  EXPECT_EQ(gold_of(R"(["cat", "dog"])", R"("1")"), 1);
  EXPECT_EQ(gold_of(R"(["cat", "dog"])", R"("dog")"), 1);
  EXPECT_EQ(gold_of(R"(["A", "B"])", R"("B")"), 1);       // text and letter agree
  EXPECT_EQ(gold_of(R"(["7", "8"])", R"("8")"), 1);       // no index
  EXPECT_EQ(gold_of(R"(["x", "y", "x"])", R"("x")"), 0);  // twins: ties go to the lower index as well
}

TEST(ChoicesFile, ARightChoiceThatCanMeanTwoIsRefused) {
  const std::string message = error_of(R"({"context": "c", "choices": ["1", "2", "3"], "answer": "2"})");
  EXPECT_THAT(message, AllOf(StartsWith("f.jsonl line 1: field 'answer'"), HasSubstr("choice 1 and choice 2")));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["B", "A"], "answer": "A"})"), HasSubstr("give the number"));
}

TEST(ChoicesFile, ErrorsNameLineFieldExpectedAndFound) {
  const std::string good = R"({"context": "c", "choices": ["x", "y"], "label": 0})"
                           "\n";
  EXPECT_THAT(error_of(good + R"({"context": 3, "choices": ["x", "y"], "label": 0})"),
              StartsWith("f.jsonl line 2: field 'context': expected a text, found number 3"));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["x"], "label": 0})"),
              HasSubstr("field 'choices': expected an array of at least 2 texts, found an array of 1"));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["x", null], "label": 0})"),
              HasSubstr("field 'choices[1]': expected a text that is not empty, found null null"));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["x", "y"], "label": 2})"),
              HasSubstr("field 'label': expected a whole number from 0 to 1, a letter from A to B"));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["x", "y"], "label": -1})"), HasSubstr("found number -1"));
  EXPECT_THAT(error_of(R"({"context": "c", "choices": ["x", "y"], "label": "z"})"), HasSubstr("found the text 'z'"));
  EXPECT_THAT(error_of(R"({"sentence": "c", "choices": ["x", "y"], "label": 0})"),
              HasSubstr("expected a field for the context, one of 'context', 'question', 'query', 'ctx'; found "
                        "'choices', 'label', 'sentence'"));
  EXPECT_THAT(error_of(R"({"context": "c", "question": "q", "choices": ["x", "y"], "label": 0})"),
              HasSubstr("found 'context' and 'question'"));
  EXPECT_THAT(error_of(good + "[]"), HasSubstr("line 2: expected one JSON object"));
  EXPECT_THAT(error_of(good + "{\"context\""), HasSubstr("f.jsonl line 2: not valid JSON"));
  EXPECT_THAT(error_of("\n\n"), HasSubstr("found no questions"));
}

TEST(ChoicesFile, SeedsAreJudgedByNameAndTheirDamagedFormsAreSurvived) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test_source("eval/corpus/choices_file_fuzz"))) {
    const std::string name = entry.path().filename().string();
    std::ifstream file(entry.path(), std::ios::binary);
    std::string seed(std::istreambuf_iterator<char>(file), {});
    EXPECT_EQ(fuzz::choices_file(seed), name.starts_with("good_")) << name;
    for (std::size_t size = 0; size < seed.size(); ++size) fuzz::choices_file(std::string_view(seed).substr(0, size));
    for (char& byte : seed) {
      byte = static_cast<char>(byte ^ 0x41);
      fuzz::choices_file(seed);
      byte = static_cast<char>(byte ^ 0x41);
    }
    ++seeds;
  }
  EXPECT_GE(seeds, 30);
}

}  // namespace
}  // namespace jericho
