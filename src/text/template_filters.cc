// Filters on text and single values, with the parameters and defaults of jinja2/filters.py 3.1; tojson is that of
// transformers, which escapes no HTML. Start at find_filter().
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"
#include "text/unicode.h"

namespace jericho::jinja {
namespace {

Value tojson(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = bound[0] && truth(*bound[0]);
  style.sort_keys = bound[3] && truth(*bound[3]);
  if (bound[1] && !bound[1]->is<None>()) {
    const bool text = bound[1]->is<Text>();
    const auto width = text ? 0 : std::clamp<std::int64_t>(require_integer(*bound[1], "indent"), 0, 64);
    style.indent = text ? std::string(bound[1]->text()) : std::string(static_cast<std::size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (bound[2] && !bound[2]->is<None>()) {
    const std::vector<Value> pair = iterate(heap, *bound[2]);
    if (pair.size() != 2) refuse("separators: expected two");
    style.item_separator = require_text(pair[0], "separators");
    style.key_separator = require_text(pair[1], "separators");
  }
  return heap.text(to_json(heap, value, style));
}

Value from_json(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return heap.from_json(require_text(value, "the JSON"), "from_json");
}

Value length_of(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return integer(length(heap, value));
}

Value trim(Heap& heap, const Value& value, const Arguments& arguments) {
  Value text = heap.text(to_text(heap, value));
  return find_text_method("strip")(heap, text, arguments);
}

Value string(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<Text>() ? value : heap.text(to_text(heap, value));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  const std::string text = to_text(heap, value);
  heap.step(text.size() / 4);
  return heap.text(kMap(text));
}

// Unlike str.title(): words begin after white space and - ( { [ <, their rest is lower case.
std::string title_words(std::string_view text) {
  std::string out;
  std::string word;
  const auto flush = [&] {
    out += capitalize(word);
    word.clear();
  };
  for (const std::string_view point : code_points(text)) {
    word += point;
    const bool starts_word = point.size() == 1 && std::string_view("-({[<").find(point) != std::string_view::npos;
    if (starts_word || is_python_space(decode_utf8(point, 0).value)) flush();
  }
  flush();
  return out;
}

Value default_to(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"default_value", "boolean"});
  const bool wanted = value.is<Undefined>() || (bound[1] && truth(*bound[1]) && !truth(value));
  return !wanted ? value : bound[0] ? *bound[0] : heap.text("");
}

Value safe(Heap& heap, const Value& value, const Arguments& arguments) { return string(heap, value, arguments); }

Value escape(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  std::string out;
  for (const char c : to_text(heap, value)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out.push_back(c);
    }
  }
  return heap.text(std::move(out));
}

Value replace(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"old", "new", "count"}, 2);
  const std::string text = to_text(heap, value);
  const std::string from = to_text(heap, *bound[0]);
  const std::string to = to_text(heap, *bound[1]);
  const bool limited = bound[2] && !bound[2]->is<None>();
  std::int64_t left = limited ? require_integer(*bound[2], "count") : -1;
  std::string out;
  std::size_t at = 0;
  const auto put = [&](std::string_view part) {
    heap.step(1 + part.size() / 64);
    if (out.size() + part.size() > heap.limits().memory.size()) refuse("the replaced text is too long");
    out += part;
  };
  while (left != 0) {
    const std::size_t found = text.find(from, at);
    if (found == std::string::npos) break;
    put(std::string_view(text).substr(at, found - at));
    put(to);
    at = found + from.size();
    --left;
    if (!from.empty()) continue;
    if (at == text.size()) return heap.text(std::move(out));
    const std::size_t size = decode_utf8(text, at).size;
    put(std::string_view(text).substr(at, size));
    at += size;
  }
  put(std::string_view(text).substr(at));
  return heap.text(std::move(out));
}

Value indent(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"width", "first", "blank"});
  std::string margin(4, ' ');
  if (bound[0] && bound[0]->is<Text>()) {
    margin = bound[0]->text();
  } else if (bound[0]) {
    margin.assign(static_cast<std::size_t>(std::clamp<std::int64_t>(require_integer(*bound[0], "width"), 0, 1000)),
                  ' ');
  }
  const bool blank = bound[2] && truth(*bound[2]);
  std::string text = to_text(heap, value);
  std::string out = bound[1] && truth(*bound[1]) ? margin : "";
  bool first = true;
  for (const std::string_view line : split_at(text, "\n", -1)) {
    heap.step(1 + (line.size() + margin.size()) / 64);
    if (out.size() > heap.limits().memory.size()) refuse("the indented text is too long");
    if (!first) out += line.empty() && !blank ? "\n" : "\n" + margin;
    out += line;
    first = false;
  }
  return heap.text(std::move(out));
}

Value to_integer(Heap&, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"default", "base"});
  if (bound[1] && require_integer(*bound[1], "base") != 10) unsupported("int with another base than 10");
  const Value fallback = bound[0].value_or(Value{std::int64_t{0}});
  if (const auto whole = integer_of(value)) return {*whole};
  double number = 0;
  if (value.is<Text>()) {
    std::string_view text = strip_left(strip_right(value.text()));
    if (text.starts_with('+')) text.remove_prefix(1);
    std::int64_t whole = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) return {whole};
    const auto real = std::from_chars(text.data(), text.data() + text.size(), number);
    if (real.ec != std::errc() || real.ptr != text.data() + text.size()) return fallback;
  } else if (value.is<double>()) {
    number = value.as<double>();
  } else {
    return fallback;
  }
  if (!(std::abs(number) < 9e18)) return fallback;
  return {static_cast<std::int64_t>(number)};
}

Value to_float(Heap&, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"default"});
  if (is_number(value)) return {number_of(value)};
  double number = 0;
  if (value.is<Text>()) {
    std::string_view text = strip_left(strip_right(value.text()));
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto real = std::from_chars(text.data(), text.data() + text.size(), number);
    if (real.ec == std::errc() && real.ptr == text.data() + text.size()) return {number};
  }
  return bound[0].value_or(Value{0.0});
}

Value absolute(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  if (!is_number(value)) refuse(fmt::format("expected a number, found {}", type_name(value)));
  if (value.is<double>()) return {std::abs(value.as<double>())};
  if (*integer_of(value) == INT64_MIN) refuse("the integer does not fit 64 bits");
  return {std::abs(*integer_of(value))};
}

Value round_to(Heap&, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"precision", "method"});
  if (!is_number(value)) refuse(fmt::format("expected a number, found {}", type_name(value)));
  const std::int64_t digits = bound[0] ? require_integer(*bound[0], "precision") : 0;
  if (digits < 0 || digits > 15) unsupported("round to a precision outside of 0 to 15");
  const std::string_view method = bound[1] ? require_text(*bound[1], "method") : "common";
  const double number = number_of(value);
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil") return {std::ceil(number * scale) / scale};
  if (method == "floor") return {std::floor(number * scale) / scale};
  if (method != "common") refuse(fmt::format("unknown method '{}'", method));
  return {std::stod(fmt::format("{:.{}f}", number, static_cast<int>(digits)))};  // half to even, as Python
}

Value word_count(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  const std::string text = to_text(heap, value);
  std::size_t words = 0;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); i += decode_utf8(text, i).size) {
    heap.step();
    const bool word = is_word(decode_utf8(text, i).value);
    words += word && !inside;
    inside = word;
  }
  return integer(words);
}

}  // namespace

Filter find_filter(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Filter>, 22> kFilters{{
      {"tojson", tojson},
      {"from_json", from_json},
      {"length", length_of},
      {"count", length_of},
      {"trim", trim},
      {"string", string},
      {"upper", mapped<upper_case>},
      {"lower", mapped<lower_case>},
      {"title", mapped<title_words>},
      {"capitalize", mapped<capitalize>},
      {"default", default_to},
      {"d", default_to},
      {"safe", safe},
      {"escape", escape},
      {"e", escape},
      {"replace", replace},
      {"indent", indent},
      {"int", to_integer},
      {"float", to_float},
      {"abs", absolute},
      {"round", round_to},
      {"wordcount", word_count},
  }};
  for (const auto& [each, filter] : kFilters) {
    if (each == name) return filter;
  }
  return find_list_filter(name);
}

}  // namespace jericho::jinja
