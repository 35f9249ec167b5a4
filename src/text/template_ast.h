// The syntax tree of a chat template. Filters and tests are looked up when it is built, so that an unknown one is
// refused before anything is rendered. Its depth is bounded, which lets everyone walk it by recursion. Start at
// Program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/template_builtins.h"
#include "text/template_lexer.h"
#include "text/template_value.h"

namespace jericho::jinja {

inline constexpr int kMaxTreeDepth = 150;

enum class ExpressionKind : std::uint8_t {
  kLiteral,      // literal
  kBody,         // the text of the block that a filter is applied to
  kName,         // name
  kList,         // children
  kTuple,        // children
  kDict,         // children: key, value, key, value ...
  kAttribute,    // children[0].name
  kItem,         // children[0][children[1]]
  kSlice,        // children[0][1:2:3], absent ones null
  kCall,         // children[0](children[1] ..., named)
  kFilter,       // children[0] | name(children[1] ..., named)
  kTest,         // children[0] is name(children[1] ..., named)
  kNegative,     // -children[0]
  kPositive,     // +children[0]
  kNot,          // not children[0]
  kAnd,          // children[0] and children[1]
  kOr,           // children[0] or children[1]
  kBinary,       // children[0] operators[0] children[1]
  kCompare,      // children[0] operators[0] children[1] operators[1] children[2] ...
  kConcatenate,  // children[0] ~ children[1] ~ ...
  kConditional,  // children[0] if children[1] else children[2], which may be null
};

enum class Operator : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  Place place{};
  int depth = 1;
  std::string name{};
  Value literal{};
  std::vector<ExpressionPtr> children{};
  std::vector<std::pair<std::string, ExpressionPtr>> named{};
  std::vector<Operator> operators{};
  Filter filter = nullptr;
  Test test = nullptr;
};

enum class StatementKind : std::uint8_t {
  kText,      // text
  kOutput,    // {{ value }}
  kIf,        // branches, otherwise
  kFor,       // for targets in value if condition: body, else otherwise
  kSet,       // targets = value, or namespace.attribute = value
  kSetBlock,  // targets[0] = the text of body, through the filters of value if there is one
  kMacro,     // name(parameters): body
  kWith,      // assignments: body
  kScope,     // body as it is: generation
  kFilter,    // the text of body through value
  kBreak,
  kContinue,
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Branch {
  ExpressionPtr condition{};
  Body body{};
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  Place place{};
  std::string text{};  // kText; otherwise the name of a macro, or of a namespace that is assigned to
  std::string attribute{};
  bool unpacks = false;  // targets are a tuple, even if there is one
  std::vector<std::string> targets{};
  ExpressionPtr value{};
  ExpressionPtr condition{};
  std::vector<std::pair<std::string, ExpressionPtr>>
      assignments{};  // of with; a macro's parameters with their defaults
  std::vector<Branch> branches{};
  Body body{};
  Body otherwise{};
};

struct Program {
  Body body{};
};

}  // namespace jericho::jinja
