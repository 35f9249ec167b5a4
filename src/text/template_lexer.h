// Cuts a chat template into text, delimiters and the words between them, and removes white space as transformers
// configures Jinja: trim_blocks (the newline after "%}" and "#}"), lstrip_blocks (blanks before "{%" and "{#" at the
// start of a line), "-" and "+" inside the delimiters, no newline at the end of the template. Comments and raw blocks
// are gone afterwards. Start at tokenize_template().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace jericho::jinja {

struct Place {
  int line = 1;
  int column = 1;  // in bytes
};

[[noreturn]] void fail_at(Place place, ErrorKind kind, std::string_view message);

enum class TokenKind : std::uint8_t {
  kText,
  kOutputBegin,     // {{
  kOutputEnd,       // }}
  kStatementBegin,  // {%
  kStatementEnd,    // %}
  kName,
  kString,  // its value
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text{};
  Place place{};
};

std::vector<Token> tokenize_template(std::string_view source);  // ends with kEnd

}  // namespace jericho::jinja
