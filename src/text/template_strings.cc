// Case mapping is that of single code points (utf8proc), so that "ß".upper() stays as it is.
#include "text/template_strings.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>
#include <utf8proc.h>

#include "text/unicode.h"

namespace jericho::jinja {

bool is_python_space(char32_t code) { return is_white_space(code) || (code >= 0x1C && code <= 0x1F); }

namespace {

template <class Unwanted>
std::string_view strip_left_if(std::string_view text, const Unwanted& unwanted) {
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text, 0);
    if (!unwanted(point.value)) break;
    text.remove_prefix(point.size);
  }
  return text;
}

template <class Unwanted>
std::string_view strip_right_if(std::string_view text, const Unwanted& unwanted) {
  while (!text.empty()) {
    const CodePoint point = decode_utf8_before(text, text.size());
    if (!unwanted(point.value)) break;
    text.remove_suffix(point.size);
  }
  return text;
}

std::u32string decode_all(std::string_view text) {
  std::u32string codes;
  for (std::size_t i = 0; i < text.size(); i += decode_utf8(text, i).size) codes.push_back(decode_utf8(text, i).value);
  return codes;
}

char32_t to_upper(char32_t code) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
char32_t to_lower(char32_t code) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

template <class Map>
std::string map_code_points(std::string_view text, const Map& map) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    if (point.valid) {
      append_code_point(map(point.value), out);
    } else {
      out += text.substr(i, point.size);
    }
    i += point.size;
  }
  return out;
}

bool all_of_one_case(std::string_view text, char32_t (*map)(char32_t)) {
  bool any = false;
  for (const char32_t code : decode_all(text)) {
    if (to_upper(code) == to_lower(code)) continue;
    if (map(code) != code) return false;
    any = true;
  }
  return any;
}

}  // namespace

std::string_view strip_left(std::string_view text) { return strip_left_if(text, is_python_space); }
std::string_view strip_right(std::string_view text) { return strip_right_if(text, is_python_space); }

std::string_view strip_left(std::string_view text, std::string_view chars) {
  const std::u32string set = decode_all(chars);
  return strip_left_if(text, [&](char32_t code) { return set.find(code) != std::u32string::npos; });
}
std::string_view strip_right(std::string_view text, std::string_view chars) {
  const std::u32string set = decode_all(chars);
  return strip_right_if(text, [&](char32_t code) { return set.find(code) != std::u32string::npos; });
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> points;
  for (std::size_t i = 0; i < text.size(); i += points.back().size()) {
    points.push_back(text.substr(i, decode_utf8(text, i).size));
  }
  return points;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += decode_utf8(text, i).size) ++count;
  return count;
}

std::vector<std::string_view> split_words(std::string_view text, long limit) {
  std::vector<std::string_view> words;
  text = strip_left(text);
  while (!text.empty()) {
    if (limit >= 0 && words.size() == static_cast<std::size_t>(limit)) {
      words.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_python_space(decode_utf8(text, end).value)) end += decode_utf8(text, end).size;
    words.push_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  return words;
}

std::vector<std::string_view> split_words_from_right(std::string_view text, long limit) {
  std::vector<std::string_view> words;
  text = strip_right(text);
  while (!text.empty()) {
    if (limit >= 0 && words.size() == static_cast<std::size_t>(limit)) {
      words.push_back(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0 && !is_python_space(decode_utf8_before(text, begin).value)) {
      begin -= decode_utf8_before(text, begin).size;
    }
    words.push_back(text.substr(begin));
    text = strip_right(text.substr(0, begin));
  }
  std::reverse(words.begin(), words.end());
  return words;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, long limit) {
  std::vector<std::string_view> parts;
  for (std::size_t at = text.find(separator);
       at != std::string_view::npos && (limit < 0 || parts.size() < static_cast<std::size_t>(limit));
       at = text.find(separator)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator, long limit) {
  std::vector<std::string_view> parts;
  for (std::size_t at = text.rfind(separator);
       at != std::string_view::npos && (limit < 0 || parts.size() < static_cast<std::size_t>(limit));
       at = text.rfind(separator)) {
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const char32_t c = point.value;
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    const std::size_t size = c == '\r' && text.substr(i + 1).starts_with('\n') ? 2 : point.size;
    if (ends) {
      lines.push_back(text.substr(begin, (keep_ends ? i + size : i) - begin));
      begin = i + size;
    }
    i += size;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string upper_case(std::string_view text) { return map_code_points(text, to_upper); }
std::string lower_case(std::string_view text) { return map_code_points(text, to_lower); }
bool is_upper_case(std::string_view text) { return all_of_one_case(text, to_upper); }
bool is_lower_case(std::string_view text) { return all_of_one_case(text, to_lower); }

std::string title_case(std::string_view text) {
  bool inside = false;
  return map_code_points(text, [&](char32_t code) {
    const bool cased = to_upper(code) != to_lower(code);
    const char32_t mapped = inside ? to_lower(code) : to_upper(code);
    inside = cased;
    return mapped;
  });
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_code_points(text, [&](char32_t code) {
    const char32_t mapped = first ? to_upper(code) : to_lower(code);
    first = false;
    return mapped;
  });
}

void append_code_point(char32_t code, std::string& out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    out += kReplacementCharacter;
    return;
  }
  std::uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(bytes, bytes + size);
}

namespace {

std::optional<char32_t> digits_of(std::string_view text, std::size_t count, unsigned base) {
  if (text.size() < count) return std::nullopt;
  char32_t value = 0;
  for (const char c : text.substr(0, count)) {
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                           : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A') + 10
                                                  : 99;
    if (digit >= base) return std::nullopt;
    value = value * base + digit;
  }
  return value;
}

}  // namespace

std::optional<std::string> unescape(std::string_view written) {
  static constexpr std::string_view kNames = "ntrabfv\\'\"";
  static constexpr std::string_view kValues = "\n\t\r\a\b\f\v\\'\"";
  std::string out;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\\' || i + 1 == written.size()) {
      out.push_back(written[i]);
      continue;
    }
    const char c = written[++i];
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (const std::size_t name = kNames.find(c); name != std::string_view::npos) {
      out.push_back(kValues[name]);
    } else if (c == '\n') {
      continue;
    } else if (digits > 0) {
      const auto code = digits_of(written.substr(i + 1), digits, 16);
      if (!code || *code > 0x10FFFF) return std::nullopt;
      append_code_point(*code, out);
      i += digits;
    } else if (c >= '0' && c <= '7') {
      std::size_t count = 1;
      while (count < 3 && digits_of(written.substr(i), count + 1, 8)) ++count;
      append_code_point(*digits_of(written.substr(i), count, 8), out);
      i += count - 1;
    } else if (c == 'N') {
      return std::nullopt;
    } else {
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return out;
}

std::string quoted_repr(std::string_view text) {
  const bool double_quotes = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const char32_t c = point.value;
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(i, point.size);
    }
    i += point.size;
  }
  out.push_back(quote);
  return out;
}

std::string quoted_json(std::string_view text, bool ascii) {
  static constexpr std::string_view kNames = "\"\\nrtbf";
  static constexpr std::string_view kValues = "\"\\\n\r\t\b\f";
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const char32_t c = point.value;
    if (const auto name = c < 0x80 ? kValues.find(static_cast<char>(c)) : std::string_view::npos;
        name != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kNames[name]);
    } else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else if (ascii && c >= 0x10000) {
      const unsigned high = 0xD800 + ((static_cast<unsigned>(c) - 0x10000) >> 10);
      out += fmt::format("\\u{:04x}\\u{:04x}", high, 0xDC00 + (static_cast<unsigned>(c) & 0x3FF));
    } else {
      out += text.substr(i, point.size);
    }
    i += point.size;
  }
  return out + "\"";
}

}  // namespace jericho::jinja
