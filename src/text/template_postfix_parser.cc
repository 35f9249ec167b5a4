// What follows a value: attributes, subscripts, calls, filters and tests. Start at ExpressionParser::parse_postfix().
#include <array>

#include <fmt/format.h>

#include "text/template_parser.h"

namespace jericho::jinja {

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr value) {
  while (true) {
    if (tokens_.is_operator(".")) {
      const Place place = tokens_.next().place;
      if (tokens_.peek().kind == TokenKind::kInteger) {
        value = make_binary(ExpressionKind::kItem, place, std::move(value), parse_number());
        continue;
      }
      value = make_unary(ExpressionKind::kAttribute, place, std::move(value));
      value->name = tokens_.expect_name("an attribute's name after '.'");
    } else if (tokens_.is_operator("[")) {
      value = parse_subscript(std::move(value));
    } else if (tokens_.is_operator("(")) {
      value = make_unary(ExpressionKind::kCall, tokens_.peek().place, std::move(value));
      parse_arguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr value) {
  const Place place = tokens_.next().place;
  std::array<ExpressionPtr, 3> parts;
  std::size_t part = 0;
  bool slice = false;
  while (!tokens_.is_operator("]")) {
    if (tokens_.skip_operator(":")) {
      slice = true;
      if (++part > 2) tokens_.fail_expected("']'");
    } else if (parts[part] || tokens_.is_operator(",")) {
      tokens_.fail_expected("']'");
    } else {
      parts[part] = parse();
    }
  }
  tokens_.next();
  if (!slice) {
    if (!parts[0]) fail_at(place, ErrorKind::kInput, "expected an index between '[' and ']'");
    return make_binary(ExpressionKind::kItem, place, std::move(value), std::move(parts[0]));
  }
  auto expression = make_unary(ExpressionKind::kSlice, place, std::move(value));
  for (ExpressionPtr& each : parts) add_child(*expression, std::move(each));
  return expression;
}

void ExpressionParser::parse_arguments(Expression& call) {
  tokens_.next();
  while (!tokens_.is_operator(")")) {
    if (tokens_.is_operator("*") || tokens_.is_operator("**")) {
      fail_at(tokens_.peek().place, ErrorKind::kUnsupported,
              fmt::format("'{}' before an argument is not supported", tokens_.peek().text));
    }
    const bool named = tokens_.peek().kind == TokenKind::kName && tokens_.peek(1).kind == TokenKind::kOperator &&
                       tokens_.peek(1).text == "=";
    if (named) {
      std::string name = tokens_.next().text;
      tokens_.next();
      ExpressionPtr value = parse();
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty()) fail_at(tokens_.peek().place, ErrorKind::kInput, "expected a named argument");
      add_child(call, parse());
    }
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.expect_operator(")", "arguments");
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr value) {
  while (true) {
    if (tokens_.skip_operator("|")) {
      value = parse_filter(std::move(value));
    } else if (tokens_.is_name("is")) {
      value = parse_test(std::move(value));
    } else if (tokens_.is_operator("(")) {
      value = make_unary(ExpressionKind::kCall, tokens_.peek().place, std::move(value));
      parse_arguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::parse_filter_names(ExpressionPtr input) {
  input = parse_filter(std::move(input));
  return parse_filters(std::move(input));
}

ExpressionPtr ExpressionParser::parse_filter(ExpressionPtr value) {
  auto expression = make_unary(ExpressionKind::kFilter, tokens_.peek().place, std::move(value));
  expression->name = tokens_.expect_name("the name of a filter");
  expression->filter = find_filter(expression->name);
  if (expression->filter == nullptr) {
    fail_at(expression->place, ErrorKind::kUnsupported, fmt::format("unknown filter '{}'", expression->name));
  }
  if (tokens_.is_operator("(")) parse_arguments(*expression);
  return expression;
}

bool ExpressionParser::starts_test_argument() const {
  switch (tokens_.peek().kind) {
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat: return true;
    case TokenKind::kName:
      for (const char* word : {"else", "or", "and", "if", "is", "not", "in"}) {
        if (tokens_.is_name(word)) return false;
      }
      return true;
    default: return tokens_.is_operator("[") || tokens_.is_operator("{");
  }
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr value) {
  tokens_.next();
  const Place place = tokens_.peek().place;
  const bool negated = tokens_.skip_name("not");
  auto test = make_unary(ExpressionKind::kTest, tokens_.peek().place, std::move(value));
  test->name = tokens_.expect_name("the name of a test");
  test->test = find_test(test->name);
  if (test->test == nullptr) {
    fail_at(test->place, ErrorKind::kUnsupported, fmt::format("unknown test '{}'", test->name));
  }
  if (tokens_.is_operator("(")) {
    parse_arguments(*test);
  } else if (starts_test_argument()) {
    add_child(*test, parse_postfix(parse_primary()));
  }
  if (tokens_.is_name("is")) fail_at(tokens_.peek().place, ErrorKind::kInput, "tests cannot be chained");
  return negated ? make_unary(ExpressionKind::kNot, place, std::move(test)) : std::move(test);
}

}  // namespace jericho::jinja
