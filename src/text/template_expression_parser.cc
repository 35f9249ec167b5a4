// Expressions by recursive descent, loosest binding first: or, and, not, comparisons, + -, ~, * / // %, **, signs, then
// what follows a value. Start at ExpressionParser::parse().
#include <array>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "text/template_parser.h"

namespace jericho::jinja {

ExpressionPtr make_expression(ExpressionKind kind, Place place) {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->place = place;
  return expression;
}

void add_child(Expression& parent, ExpressionPtr child) {
  if (child) parent.depth = std::max(parent.depth, child->depth + 1);
  parent.children.push_back(std::move(child));
  if (parent.depth > kMaxTreeDepth) {
    fail_at(parent.place, ErrorKind::kInput, fmt::format("expression nested deeper than {} levels", kMaxTreeDepth));
  }
}

ExpressionPtr make_unary(ExpressionKind kind, Place place, ExpressionPtr operand) {
  auto expression = make_expression(kind, place);
  add_child(*expression, std::move(operand));
  return expression;
}

ExpressionPtr make_binary(ExpressionKind kind, Place place, ExpressionPtr left, ExpressionPtr right) {
  auto expression = make_unary(kind, place, std::move(left));
  add_child(*expression, std::move(right));
  return expression;
}

namespace {

ExpressionPtr make_literal(Place place, Value value) {
  auto expression = make_expression(ExpressionKind::kLiteral, place);
  expression->literal = std::move(value);
  return expression;
}

Value literal_text(std::string text) { return {std::make_shared<const TextBody>(std::move(text), nullptr)}; }

}  // namespace

// Bounds the recursion of the parser itself.
class ExpressionParser::Nesting {
 public:
  explicit Nesting(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.nesting_ > kMaxTreeDepth) {
      fail_at(parser_.tokens_.peek().place, ErrorKind::kInput,
              fmt::format("expression nested deeper than {} levels", kMaxTreeDepth));
    }
  }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  ExpressionParser& parser_;
};

ExpressionPtr ExpressionParser::parse() {
  const Nesting nesting(*this);
  ExpressionPtr value = parse_operand();
  while (tokens_.is_name("if")) {
    auto conditional = make_expression(ExpressionKind::kConditional, tokens_.next().place);
    add_child(*conditional, std::move(value));
    add_child(*conditional, parse_operand());
    add_child(*conditional, tokens_.skip_name("else") ? parse() : nullptr);
    value = std::move(conditional);
  }
  return value;
}

ExpressionPtr ExpressionParser::parse_tuple() {
  const Place place = tokens_.peek().place;
  ExpressionPtr first = parse();
  if (!tokens_.is_operator(",")) return first;
  auto tuple = make_unary(ExpressionKind::kTuple, place, std::move(first));
  while (tokens_.skip_operator(",")) {
    if (tokens_.is_operator(")") || tokens_.peek().kind == TokenKind::kStatementEnd ||
        tokens_.peek().kind == TokenKind::kOutputEnd) {
      break;
    }
    add_child(*tuple, parse());
  }
  return tuple;
}

ExpressionPtr ExpressionParser::parse_operand() {
  ExpressionPtr left = parse_and();
  while (tokens_.is_name("or")) {
    const Place place = tokens_.next().place;
    left = make_binary(ExpressionKind::kOr, place, std::move(left), parse_and());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_and() {
  ExpressionPtr left = parse_not();
  while (tokens_.is_name("and")) {
    const Place place = tokens_.next().place;
    left = make_binary(ExpressionKind::kAnd, place, std::move(left), parse_not());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_comparison();
  const Nesting nesting(*this);
  const Place place = tokens_.next().place;
  return make_unary(ExpressionKind::kNot, place, parse_not());
}

namespace {

std::optional<Operator> take_comparison(TokenCursor& tokens) {
  static constexpr std::array<std::pair<std::string_view, Operator>, 6> kOperators{{{"==", Operator::kEqual},
                                                                                    {"!=", Operator::kNotEqual},
                                                                                    {"<", Operator::kLess},
                                                                                    {"<=", Operator::kLessEqual},
                                                                                    {">", Operator::kGreater},
                                                                                    {">=", Operator::kGreaterEqual}}};
  for (const auto& [text, op] : kOperators) {
    if (tokens.skip_operator(text)) return op;
  }
  if (tokens.skip_name("in")) return Operator::kIn;
  const bool not_in = tokens.is_name("not") && tokens.peek(1).kind == TokenKind::kName && tokens.peek(1).text == "in";
  if (!not_in) return std::nullopt;
  tokens.next();
  tokens.next();
  return Operator::kNotIn;
}

}  // namespace

ExpressionPtr ExpressionParser::parse_comparison() {
  ExpressionPtr left = parse_sum();
  ExpressionPtr comparison;
  while (true) {
    const Place place = tokens_.peek().place;
    const auto op = take_comparison(tokens_);
    if (!op) return comparison ? std::move(comparison) : std::move(left);
    if (!comparison) comparison = make_unary(ExpressionKind::kCompare, place, std::move(left));
    comparison->operators.push_back(*op);
    add_child(*comparison, parse_sum());
  }
}

ExpressionPtr ExpressionParser::parse_sum() {
  ExpressionPtr left = parse_concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token& token = tokens_.next();
    auto sum = make_binary(ExpressionKind::kBinary, token.place, std::move(left), parse_concatenation());
    sum->operators.push_back(token.text == "+" ? Operator::kAdd : Operator::kSubtract);
    left = std::move(sum);
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  ExpressionPtr first = parse_product();
  if (!tokens_.is_operator("~")) return first;
  auto all = make_unary(ExpressionKind::kConcatenate, tokens_.peek().place, std::move(first));
  while (tokens_.skip_operator("~")) add_child(*all, parse_product());
  return all;
}

ExpressionPtr ExpressionParser::parse_product() {
  static constexpr std::array<std::pair<std::string_view, Operator>, 4> kOperators{
      {{"*", Operator::kMultiply}, {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo}}};
  ExpressionPtr left = parse_power();
  while (true) {
    const Place place = tokens_.peek().place;
    const auto* op = std::find_if(kOperators.begin(), kOperators.end(),
                                  [&](const auto& entry) { return tokens_.skip_operator(entry.first); });
    if (op == kOperators.end()) return left;
    auto product = make_binary(ExpressionKind::kBinary, place, std::move(left), parse_power());
    product->operators.push_back(op->second);
    left = std::move(product);
  }
}

ExpressionPtr ExpressionParser::parse_power() {
  ExpressionPtr left = parse_unary(true);
  while (tokens_.is_operator("**")) {
    const Place place = tokens_.next().place;
    left = make_binary(ExpressionKind::kBinary, place, std::move(left), parse_unary(true));
    left->operators.push_back(Operator::kPower);
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  ExpressionPtr value;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Nesting nesting(*this);
    const Token& sign = tokens_.next();
    const auto kind = sign.text == "-" ? ExpressionKind::kNegative : ExpressionKind::kPositive;
    value = make_unary(kind, sign.place, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::parse_primary() {
  const Token& token = tokens_.peek();
  switch (token.kind) {
    case TokenKind::kName: return parse_name();
    case TokenKind::kInteger:
    case TokenKind::kFloat: return parse_number();
    case TokenKind::kString: {
      std::string text;
      while (tokens_.peek().kind == TokenKind::kString) text += tokens_.next().text;
      return make_literal(token.place, literal_text(std::move(text)));
    }
    default: break;
  }
  if (tokens_.is_operator("(")) return parse_parentheses();
  if (tokens_.is_operator("[")) return parse_list();
  if (tokens_.is_operator("{")) return parse_dict();
  tokens_.fail_expected("a value");
}

ExpressionPtr ExpressionParser::parse_name() {
  const Token& token = tokens_.next();
  const std::string_view name = token.text;
  if (name == "true" || name == "True") return make_literal(token.place, {true});
  if (name == "false" || name == "False") return make_literal(token.place, {false});
  if (name == "none" || name == "None") return make_literal(token.place, none());
  if (name == "self" || name == "super" || (in_macro_ && (name == "caller" || name == "varargs" || name == "kwargs"))) {
    fail_at(token.place, ErrorKind::kUnsupported, fmt::format("the special variable '{}' is not supported", name));
  }
  for (const std::string_view word : {"if", "else", "for", "in", "is", "and", "or", "elif", "not"}) {
    if (name == word) fail_at(token.place, ErrorKind::kInput, fmt::format("expected a value, found '{}'", name));
  }
  auto expression = make_expression(ExpressionKind::kName, token.place);
  expression->name = name;
  return expression;
}

ExpressionPtr ExpressionParser::parse_number() {
  const Token& token = tokens_.next();
  const char* end = token.text.data() + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    double number = 0;
    const auto result = std::from_chars(token.text.data(), end, number);
    if (result.ec != std::errc()) fail_at(token.place, ErrorKind::kInput, "the number is out of range");
    return make_literal(token.place, {number});
  }
  std::int64_t number = 0;
  const auto result = std::from_chars(token.text.data(), end, number);
  if (result.ec != std::errc()) fail_at(token.place, ErrorKind::kInput, "the number does not fit 64 bits");
  return make_literal(token.place, {number});
}

ExpressionPtr ExpressionParser::parse_parentheses() {
  const Place place = tokens_.next().place;
  if (tokens_.skip_operator(")")) return make_expression(ExpressionKind::kTuple, place);
  ExpressionPtr value = parse_tuple();
  tokens_.expect_operator(")", "a parenthesis");
  return value;
}

ExpressionPtr ExpressionParser::parse_list() {
  auto list = make_expression(ExpressionKind::kList, tokens_.next().place);
  while (!tokens_.is_operator("]")) {
    add_child(*list, parse());
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.expect_operator("]", "a list");
  return list;
}

ExpressionPtr ExpressionParser::parse_dict() {
  auto dict = make_expression(ExpressionKind::kDict, tokens_.next().place);
  while (!tokens_.is_operator("}")) {
    add_child(*dict, parse());
    tokens_.expect_operator(":", "a key of a dictionary");
    add_child(*dict, parse());
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.expect_operator("}", "a dictionary");
  return dict;
}

}  // namespace jericho::jinja
