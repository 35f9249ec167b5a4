// What the fuzzer does with one input, shared with the test that replays its corpus. An Error is a right answer.
#pragma once

#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "eval/choices_file.h"

namespace jericho::fuzz {

// True when the text is a file of choices; then every question can be scored.
inline bool choices_file(std::string_view text) {
  try {
    const auto questions = parse_choices(text, "choices.jsonl");
    JERICHO_CHECK(!questions.empty(), "{} bytes without questions", text.size());
    Index line = 0;
    for (const ChoiceQuestion& question : questions) {
      JERICHO_CHECK(question.line > line, "line {} after {}", question.line, line);
      line = question.line;
      JERICHO_CHECK(question.choices.size() >= 2, "{} choices", question.choices.size());
      JERICHO_CHECK(question.gold >= 0 && question.gold < static_cast<Index>(question.choices.size()), "gold {} of {}",
                    question.gold, question.choices.size());
      for (const std::string& choice : question.choices) JERICHO_CHECK(!choice.empty(), "line {}", question.line);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace jericho::fuzz
