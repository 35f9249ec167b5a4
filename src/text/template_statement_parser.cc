// Statements: one function each, named by the word the tag begins with. Start at StatementParser::parse_body().
#include <array>

#include <fmt/format.h>

#include "text/template_parser.h"

namespace jericho::jinja {

void TokenCursor::fail_expected(std::string_view what) const {
  static constexpr std::array<std::string_view, 11> kNames{"text", "'{{'",   "'}}'",     "'{%'",        "'%}'",   "",
                                                           "text", "number", "a number", "an operator", "the end"};
  const Token& token = peek();
  const bool shown = token.kind == TokenKind::kName || token.kind == TokenKind::kOperator;
  const std::string found =
      shown ? fmt::format("'{}'", token.text) : std::string(kNames[static_cast<std::size_t>(token.kind)]);
  fail_at(token.place, ErrorKind::kInput, fmt::format("expected {}, found {}", what, found));
}

void TokenCursor::expect_operator(std::string_view text, std::string_view where) {
  if (!skip_operator(text)) fail_expected(fmt::format("'{}' of {}", text, where));
}

void TokenCursor::expect(TokenKind kind, std::string_view what) {
  if (peek().kind != kind) fail_expected(what);
  next();
}

std::string TokenCursor::expect_name(std::string_view what) {
  if (peek().kind != TokenKind::kName) fail_expected(what);
  return next().text;
}

namespace {

constexpr int kMaxStatementDepth = 60;

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Body parse_all() {
    Body body = parse_body({});
    if (tokens_.peek().kind != TokenKind::kEnd) tokens_.fail_expected("the end");
    return body;
  }

 private:
  using Words = std::initializer_list<std::string_view>;
  using StatementPtr = std::unique_ptr<Statement>;

  // Up to a tag that begins with one of `ends`; the cursor is left at that word, behind its "{%".
  Body parse_body(Words ends) {
    if (++depth_ > kMaxStatementDepth) {
      fail_at(tokens_.peek().place, ErrorKind::kInput,
              fmt::format("statements nested deeper than {} levels", kMaxStatementDepth));
    }
    Body body;
    while (true) {
      const Token& token = tokens_.peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0) {
          fail_at(token.place, ErrorKind::kInput, fmt::format("expected {{% {} %}}, found the end", *(ends.end() - 1)));
        }
        break;
      }
      tokens_.next();
      if (token.kind == TokenKind::kText) {
        body.push_back(make(StatementKind::kText, token.place));
        body.back()->text = token.text;
      } else if (token.kind == TokenKind::kOutputBegin) {
        body.push_back(make(StatementKind::kOutput, token.place));
        body.back()->value = expressions_.parse_tuple();
        tokens_.expect(TokenKind::kOutputEnd, "'}}'");
      } else if (std::any_of(ends.begin(), ends.end(), [&](std::string_view word) { return tokens_.is_name(word); })) {
        break;
      } else {
        body.push_back(parse_statement());
      }
    }
    --depth_;
    return body;
  }

  // Whatever `ends` names last closes the block: "endfor %}".
  Body parse_block(Words ends) {
    expect_end();
    Body body = parse_body(ends);
    tokens_.next();
    return body;
  }

  static StatementPtr make(StatementKind kind, Place place) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->place = place;
    return statement;
  }
  void expect_end() { tokens_.expect(TokenKind::kStatementEnd, "'%}'"); }

  StatementPtr parse_statement() {
    const Place place = tokens_.peek().place;
    const std::string word = tokens_.expect_name("a statement");
    StatementPtr statement;
    if (word == "if")
      statement = parse_if(place);
    else if (word == "for")
      statement = parse_for(place);
    else if (word == "set")
      statement = parse_set(place);
    else if (word == "macro")
      statement = parse_macro(place);
    else if (word == "with")
      statement = parse_with(place);
    else if (word == "filter")
      statement = parse_filter(place);
    else if (word == "generation")
      statement = parse_generation(place);
    else if (word == "break" || word == "continue")
      statement = parse_loop_control(place, word);
    else if (word.starts_with("end") || word == "else" || word == "elif")
      fail_at(place, ErrorKind::kInput, fmt::format("'{}' closes nothing", word));
    else
      fail_at(place, ErrorKind::kUnsupported, fmt::format("unknown statement '{}'", word));
    expect_end();
    return statement;
  }

  StatementPtr parse_if(Place place) {
    auto statement = make(StatementKind::kIf, place);
    do {
      Branch& branch = statement->branches.emplace_back();
      branch.condition = expressions_.parse_tuple();
      expect_end();
      branch.body = parse_body({"elif", "else", "endif"});
    } while (tokens_.skip_name("elif"));
    if (tokens_.skip_name("else")) {
      statement->otherwise = parse_block({"endif"});
    } else {
      tokens_.next();
    }
    return statement;
  }

  void parse_targets(Statement& statement) {
    const bool parenthesis = tokens_.skip_operator("(");
    statement.targets.push_back(parse_target());
    while (tokens_.skip_operator(",")) {
      statement.unpacks = true;
      if (tokens_.peek().kind != TokenKind::kName || tokens_.is_name("in")) break;
      statement.targets.push_back(parse_target());
    }
    if (parenthesis) tokens_.expect_operator(")", "the variables");
  }

  std::string parse_target() {
    if (tokens_.is_operator("(") || tokens_.is_operator("[")) {
      fail_at(tokens_.peek().place, ErrorKind::kUnsupported, "nested variables to unpack into are not supported");
    }
    const Place place = tokens_.peek().place;
    std::string name = tokens_.expect_name("the name of a variable");
    for (const std::string_view word : {"true", "True", "false", "False", "none", "None", "in", "not", "and", "or"}) {
      if (name == word) fail_at(place, ErrorKind::kInput, fmt::format("'{}' cannot be assigned to", name));
    }
    return name;
  }

  StatementPtr parse_for(Place place) {
    auto statement = make(StatementKind::kFor, place);
    parse_targets(*statement);
    if (!tokens_.skip_name("in")) tokens_.fail_expected("'in'");
    statement->value = expressions_.parse_operand();
    if (tokens_.is_operator(",")) tokens_.fail_expected("'%}'; a tuple to walk needs parentheses");
    if (tokens_.skip_name("if")) statement->condition = expressions_.parse();
    if (tokens_.is_name("recursive")) {
      fail_at(tokens_.peek().place, ErrorKind::kUnsupported, "recursive loops are not supported");
    }
    expect_end();
    ++loops_;
    statement->body = parse_body({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      statement->otherwise = parse_block({"endfor"});
    } else {
      tokens_.next();
    }
    return statement;
  }

  StatementPtr parse_set(Place place) {
    auto statement = make(StatementKind::kSet, place);
    parse_targets(*statement);
    if (statement->targets.size() == 1 && tokens_.skip_operator(".")) {
      statement->text = std::move(statement->targets[0]);
      statement->attribute = tokens_.expect_name("an attribute's name after '.'");
      statement->targets.clear();
    }
    if (tokens_.skip_operator("=")) {
      statement->value = expressions_.parse_tuple();
      return statement;
    }
    if (statement->unpacks) tokens_.fail_expected("'='");
    statement->kind = StatementKind::kSetBlock;
    if (tokens_.is_operator("|")) {
      statement->value = expressions_.parse_filters(make_expression(ExpressionKind::kBody, place));
    }
    statement->body = parse_block({"endset"});
    return statement;
  }

  StatementPtr parse_macro(Place place) {
    auto statement = make(StatementKind::kMacro, place);
    statement->text = tokens_.expect_name("the name of a macro");
    tokens_.expect_operator("(", "the macro's parameters");
    const int outer_loops = std::exchange(loops_, 0);
    ++macros_;
    expressions_.set_in_macro(true);
    while (!tokens_.is_operator(")")) {
      auto& parameter = statement->assignments.emplace_back(parse_target(), nullptr);
      if (tokens_.skip_operator("=")) {
        parameter.second = expressions_.parse();
      } else if (statement->assignments.size() > 1 && (statement->assignments.end() - 2)->second) {
        tokens_.fail_expected("a default, as the parameter before has one");
      }
      if (!tokens_.skip_operator(",")) break;
    }
    tokens_.expect_operator(")", "the macro's parameters");
    statement->body = parse_block({"endmacro"});
    loops_ = outer_loops;
    expressions_.set_in_macro(--macros_ > 0);
    if (tokens_.is_name(statement->text)) tokens_.next();  // "endmacro name"
    return statement;
  }

  StatementPtr parse_with(Place place) {
    auto statement = make(StatementKind::kWith, place);
    while (tokens_.peek().kind != TokenKind::kStatementEnd) {
      auto& assignment = statement->assignments.emplace_back(parse_target(), nullptr);
      tokens_.expect_operator("=", "a variable of 'with'");
      assignment.second = expressions_.parse();
      if (!tokens_.skip_operator(",")) break;
    }
    statement->body = parse_block({"endwith"});
    return statement;
  }

  StatementPtr parse_filter(Place place) {
    auto statement = make(StatementKind::kFilter, place);
    statement->value = expressions_.parse_filter_names(make_expression(ExpressionKind::kBody, place));
    statement->body = parse_block({"endfilter"});
    return statement;
  }

  StatementPtr parse_generation(Place place) {
    auto statement = make(StatementKind::kScope, place);
    statement->body = parse_block({"endgeneration"});
    return statement;
  }

  StatementPtr parse_loop_control(Place place, std::string_view word) {
    if (loops_ == 0) fail_at(place, ErrorKind::kInput, fmt::format("'{}' stands outside of a loop", word));
    return make(word == "break" ? StatementKind::kBreak : StatementKind::kContinue, place);
  }

  TokenCursor tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;
  int macros_ = 0;
};

}  // namespace

Program parse_program(std::string_view source) {
  if (source.size() > kMaxTemplate.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("chat template: has {}, expected at most {}",
                            format_bytes({static_cast<std::int64_t>(source.size())}), format_bytes(kMaxTemplate)));
  }
  return {StatementParser(tokenize_template(source)).parse_all()};
}

}  // namespace jericho::jinja
