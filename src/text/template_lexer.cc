// The rules for white space are those of jinja2/lexer.py 3.1 with trim_blocks and lstrip_blocks. Start at Lexer::run().
#include "text/template_lexer.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "text/template_strings.h"

namespace jericho::jinja {

void fail_at(Place place, ErrorKind kind, std::string_view message) {
  throw Error(kind, fmt::format("chat template, line {}, column {}: {}", place.line, place.column, message));
}

namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

std::string with_plain_newlines(std::string_view source) {
  std::string plain;
  plain.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    plain.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  if (plain.ends_with('\n')) plain.pop_back();
  return plain;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t open = next_delimiter();
      if (open == source_.size()) {
        add(TokenKind::kText, std::string(source_.substr(at_)));
        at_ = open;
        break;
      }
      const char delimiter = source_[open + 1];
      const char sign = sign_at(open + 2);
      add_text_before(open, delimiter, sign);
      advance(open - at_);
      if (delimiter == '#') {
        skip_comment();
      } else if (delimiter == '%' && names_raw(open + 2 + (sign != 0))) {
        take_raw();
      } else {
        take_tag(delimiter, sign);
      }
    }
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return source_.substr(at_); }
  [[nodiscard]] char sign_at(std::size_t i) const {
    return i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i] : '\0';
  }
  void add(TokenKind kind, std::string text) {
    if (kind != TokenKind::kText || !text.empty()) tokens_.push_back({kind, std::move(text), place_});
  }
  void advance(std::size_t count) {
    for (const char c : source_.substr(at_, count)) {
      place_ = c == '\n' ? Place{place_.line + 1, 1} : Place{place_.line, place_.column + 1};
    }
    at_ += count;
  }
  [[noreturn]] void fail(std::string_view message) const { fail_at(place_, ErrorKind::kInput, message); }

  [[nodiscard]] std::size_t next_delimiter() const {
    for (std::size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  // The text up to a delimiter, less what the delimiter's sign or lstrip_blocks takes from its end.
  void add_text_before(std::size_t open, char delimiter, char sign) {
    std::string_view text = source_.substr(at_, open - at_);
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign == '\0' && delimiter != '{') {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      const bool at_line_start = line > 0 || at_ == 0 || source_[at_ - 1] == '\n';
      if (at_line_start && strip_right(text.substr(line)).empty()) text = text.substr(0, line);
    }
    add(TokenKind::kText, std::string(text));
  }

  // Behind a closing delimiter: "-" takes all white space, otherwise a statement or comment takes one newline.
  void skip_after(char sign, bool trims) {
    if (sign == '-') {
      advance(rest().size() - strip_left(rest()).size());
    } else if (trims && sign == '\0' && rest().starts_with('\n')) {
      advance(1);
    }
  }

  void skip_comment() {
    const std::size_t end = rest().find("#}", 2);
    if (end == std::string_view::npos) fail("the comment has no end: expected '#}'");
    const char sign = end > 2 ? sign_at(at_ + end - 1) : '\0';
    advance(end + 2);
    skip_after(sign, true);
  }

  [[nodiscard]] bool names_raw(std::size_t i) const {
    while (i < source_.size() && is_blank(source_[i])) ++i;
    if (source_.substr(i, 3) != "raw") return false;
    i += 3;
    while (i < source_.size() && is_blank(source_[i])) ++i;
    return source_.substr(i, 2) == "%}" || source_.substr(i, 3) == "-%}";
  }

  void take_raw() {
    const Place begin = place_;
    const std::size_t close = rest().find("%}");
    const char close_sign = sign_at(at_ + close - 1);
    advance(close + 2);
    skip_after(close_sign, false);
    for (std::size_t open = source_.find("{%", at_); open != std::string_view::npos;
         open = source_.find("{%", open + 2)) {
      const char sign = sign_at(open + 2);
      std::size_t i = open + 2 + (sign != 0);
      while (i < source_.size() && is_blank(source_[i])) ++i;
      if (source_.substr(i, 6) != "endraw") continue;
      i += 6;
      while (i < source_.size() && is_blank(source_[i])) ++i;
      const char end_sign = sign_at(i);
      i += end_sign != 0;
      if (source_.substr(i, 2) != "%}") continue;
      add_text_before(open, '%', sign);
      advance(i + 2 - at_);
      return skip_after(end_sign, true);
    }
    fail_at(begin, ErrorKind::kInput, "the raw block has no end: expected {% endraw %}");
  }

  void take_tag(char delimiter, char sign) {
    const bool output = delimiter == '{';
    const Place begin = place_;
    add(output ? TokenKind::kOutputBegin : TokenKind::kStatementBegin, {});
    advance(2 + (sign != 0));
    const std::string_view close = output ? "}}" : "%}";
    brackets_.clear();
    while (true) {
      while (at_ < source_.size() && is_blank(source_[at_])) advance(1);
      if (at_ == source_.size())
        fail_at(begin, ErrorKind::kInput, fmt::format("the tag has no end: expected '{}'", close));
      const char end_sign = sign_at(at_);
      const bool signed_close = end_sign != 0 && rest().substr(1).starts_with(close) && !(output && end_sign == '+');
      if (brackets_.empty() && (signed_close || rest().starts_with(close))) {
        add(output ? TokenKind::kOutputEnd : TokenKind::kStatementEnd, {});
        advance(2 + signed_close);
        return skip_after(signed_close ? end_sign : '\0', !output);
      }
      take_word();
    }
  }

  void take_word() {
    const char c = source_[at_];
    if (is_digit(c)) return take_number();
    if (c == '"' || c == '\'') return take_string(c);
    if (!starts_name(c)) return take_operator();
    std::size_t size = 1;
    while (at_ + size < source_.size() && (starts_name(source_[at_ + size]) || is_digit(source_[at_ + size]))) ++size;
    add(TokenKind::kName, std::string(source_.substr(at_, size)));
    advance(size);
  }

  void take_number() {
    std::size_t i = at_;
    const auto digits = [&] {
      const std::size_t from = i;
      while (i < source_.size() && (is_digit(source_[i]) || (source_[i] == '_' && i > from))) ++i;
      return i > from;
    };
    digits();
    bool real = false;
    const auto digit_at = [&](std::size_t j) { return j < source_.size() && is_digit(source_[j]); };
    if (i < source_.size() && source_[i] == '.' && digit_at(i + 1)) {
      ++i;
      real = digits();
    }
    if (i < source_.size() && (source_[i] == 'e' || source_[i] == 'E')) {
      const bool has_sign = sign_at(i + 1) != 0;
      if (digit_at(i + 1 + has_sign)) {
        i += 1 + has_sign;
        real = digits();
      }
    }
    if (i < source_.size() && starts_name(source_[i])) {
      fail_at(place_, ErrorKind::kUnsupported, "only decimal numbers are understood");
    }
    std::string text(source_.substr(at_, i - at_));
    std::erase(text, '_');
    add(real ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance(i - at_);
  }

  void take_string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("the text has no closing quote");
    const std::string_view written = source_.substr(at_ + 1, end - at_ - 1);
    const auto value = unescape(written);
    if (!value) fail("the text has a \\ escape that is none of \\n \\t \\r \\\\ \\' \\\" \\xHH \\uHHHH ...");
    add(TokenKind::kString, *value);
    advance(end + 1 - at_);
  }

  void take_operator() {
    static constexpr std::array<std::string_view, 6> kDouble{"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kSingle = "+-/*%~[](){}<>=.:|,;";
    std::string_view text = rest().substr(0, 2);
    if (std::find(kDouble.begin(), kDouble.end(), text) == kDouble.end()) text = text.substr(0, 1);
    if (text.size() == 1 && kSingle.find(text[0]) == std::string_view::npos) {
      fail(fmt::format("unexpected character 0x{:02X}", static_cast<unsigned char>(text[0])));
    }
    const char c = text[0];
    if (c == '(' || c == '[' || c == '{') brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) fail(fmt::format("'{}' closes nothing", c));
      brackets_.pop_back();
    }
    add(TokenKind::kOperator, std::string(text));
    advance(text.size());
  }

  std::string_view source_;
  std::size_t at_ = 0;
  Place place_{};
  std::string brackets_{};  // that are open, as what closes them
  std::vector<Token> tokens_{};
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) {
  const std::string plain = with_plain_newlines(source);
  return Lexer(plain).run();
}

}  // namespace jericho::jinja
