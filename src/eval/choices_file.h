// Multiple-choice questions from JSON lines (docs/evaluation.md#the-file-of-choices): one object per line, its fields
// called as in the common data sets. A row that can be read in two ways is refused, never guessed at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/index.h"

namespace jericho {

struct ChoiceQuestion {
  Index line = 0;                      // in the file, from 1
  std::string context{};               // may be empty
  std::vector<std::string> choices{};  // at least 2, none empty, valid UTF-8
  Index gold = 0;                      // index of the right one
};

// `what` names the text in errors. Lines of white space are skipped. Error(kInput) names line, field, what was expected
// and what was found; a text without questions is one too.
std::vector<ChoiceQuestion> parse_choices(std::string_view text, std::string_view what);

}  // namespace jericho
