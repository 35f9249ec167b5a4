// Reads a chat template into its syntax tree. The grammar is that of jinja2/parser.py 3.1 for the statements and
// expressions in docs/templates.md; the others are refused by name. Start at parse_program().
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template_ast.h"
#include "text/template_lexer.h"

namespace jericho::jinja {

Program parse_program(std::string_view source);

// A walk over the tokens, shared by statements and expressions.
class TokenCursor {
 public:
  explicit TokenCursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  [[nodiscard]] const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[nodiscard]] bool is_operator(std::string_view text) const {
    return peek().kind == TokenKind::kOperator && peek().text == text;
  }
  [[nodiscard]] bool is_name(std::string_view text) const {
    return peek().kind == TokenKind::kName && peek().text == text;
  }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }
  void expect_operator(std::string_view text, std::string_view where);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_name(std::string_view what);
  [[noreturn]] void fail_expected(std::string_view what) const;

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenCursor& tokens) : tokens_(tokens) {}
  ExpressionPtr parse();                                  // with the inline if
  ExpressionPtr parse_operand();                          // without: the list of a for, which an if may follow
  ExpressionPtr parse_tuple();                            // also "a, b" without parentheses
  ExpressionPtr parse_filters(ExpressionPtr input);       // "| a | b(c)" after `input`
  ExpressionPtr parse_filter_names(ExpressionPtr input);  // "a | b(c)": a filter block
  void set_in_macro(bool in_macro) { in_macro_ = in_macro; }

 private:
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_number();
  ExpressionPtr parse_parentheses();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr value);
  ExpressionPtr parse_subscript(ExpressionPtr value);
  ExpressionPtr parse_filter(ExpressionPtr value);
  ExpressionPtr parse_test(ExpressionPtr value);
  void parse_arguments(Expression& call);
  [[nodiscard]] bool starts_test_argument() const;

  class Nesting;
  TokenCursor& tokens_;
  int nesting_ = 0;
  bool in_macro_ = false;
};

ExpressionPtr make_expression(ExpressionKind kind, Place place);
ExpressionPtr make_unary(ExpressionKind kind, Place place, ExpressionPtr operand);
ExpressionPtr make_binary(ExpressionKind kind, Place place, ExpressionPtr left, ExpressionPtr right);
void add_child(Expression& parent, ExpressionPtr child);  // null is allowed; refuses trees that grow too deep

}  // namespace jericho::jinja
