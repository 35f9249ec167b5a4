// Methods of text, named and behaving as those of Python's str. Start at find_text_method().
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"
#include "text/unicode.h"

namespace jericho::jinja {
namespace {

Value texts(Heap& heap, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(heap.text(std::string(part)));
  return heap.list(std::move(items));
}

template <bool kLeft, bool kRight>
Value strip(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"chars"});
  std::string_view text = receiver.text();
  if (bound[0] && !bound[0]->is<None>()) {
    const std::string_view chars = require_text(*bound[0], "chars");
    heap.step(chars.size() * (1 + text.size() / 64));
    if (kLeft) text = strip_left(text, chars);
    if (kRight) text = strip_right(text, chars);
  } else {
    if (kLeft) text = strip_left(text);
    if (kRight) text = strip_right(text);
  }
  return heap.text(std::string(text));
}

template <bool kFromRight>
Value split(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"sep", "maxsplit"});
  const std::string_view text = receiver.text();
  const long limit = bound[1] ? require_integer(*bound[1], "maxsplit") : -1;
  heap.step(text.size() / 16);
  if (!bound[0] || bound[0]->is<None>()) {
    return texts(heap, kFromRight ? split_words_from_right(text, limit) : split_words(text, limit));
  }
  const std::string_view separator = require_text(*bound[0], "sep");
  if (separator.empty()) refuse("the separator is empty");
  return texts(heap, kFromRight ? split_at_from_right(text, separator, limit) : split_at(text, separator, limit));
}

Value split_into_lines(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"keepends"});
  heap.step(receiver.text().size() / 16);
  return texts(heap, split_lines(receiver.text(), bound[0] && truth(*bound[0])));
}

template <bool kStart>
Value has_affix(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value affix = *arguments.bind({kStart ? "prefix" : "suffix"}, 1)[0];
  const auto has = [&](const Value& each) {
    const std::string_view wanted = require_text(each, kStart ? "prefix" : "suffix");
    return kStart ? receiver.text().starts_with(wanted) : receiver.text().ends_with(wanted);
  };
  if (!affix.is<List*>()) return {has(affix)};
  const std::vector<Value> any = iterate(heap, affix);
  return {std::any_of(any.begin(), any.end(), has)};
}

template <bool kStart>
Value remove_affix(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value affix = *arguments.bind({kStart ? "prefix" : "suffix"}, 1)[0];
  const std::string_view wanted = require_text(affix, kStart ? "prefix" : "suffix");
  std::string_view text = receiver.text();
  if (kStart && text.starts_with(wanted)) text.remove_prefix(wanted.size());
  if (!kStart && text.ends_with(wanted)) text.remove_suffix(wanted.size());
  return heap.text(std::string(text));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  heap.step(receiver.text().size() / 4);
  return heap.text(kMap(receiver.text()));
}

Value replace(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"old", "new", "count"}, 2);
  return find_filter("replace")(heap, receiver, {{*bound[0], *bound[1], bound[2].value_or(none())}, {}});
}

template <bool kFromRight>
Value find(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value wanted = *arguments.bind({"sub"}, 1)[0];
  const std::string_view text = receiver.text();
  const std::string_view part = require_text(wanted, "sub");
  heap.step(text.size() / 16);
  const std::size_t at = kFromRight ? text.rfind(part) : text.find(part);
  return at == std::string_view::npos ? Value{std::int64_t{-1}} : integer(count_code_points(text.substr(0, at)));
}

Value index(Heap& heap, Value& receiver, const Arguments& arguments) {
  Value found = find<false>(heap, receiver, arguments);
  if (found.as<std::int64_t>() < 0) refuse("the text is not within the text");
  return found;
}

Value count(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value wanted = *arguments.bind({"sub"}, 1)[0];
  const std::string_view part = require_text(wanted, "sub");
  heap.step(receiver.text().size() / 16);
  if (part.empty()) return integer(count_code_points(receiver.text()) + 1);
  return integer(split_at(receiver.text(), part, -1).size() - 1);
}

Value join(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value items = *arguments.bind({"iterable"}, 1)[0];
  for (const Value& each : iterate(heap, items)) (void)require_text(each, "an element to join");
  return find_filter("join")(heap, items, {{receiver}, {}});
}

template <class Holds>
Value all_code_points(Heap& heap, const Value& receiver, const Arguments& arguments, const Holds& holds) {
  arguments.none();
  heap.step(receiver.text().size() / 4);
  const std::string_view text = receiver.text();
  bool all = !text.empty();
  for (std::size_t i = 0; all && i < text.size(); i += decode_utf8(text, i).size)
    all = holds(decode_utf8(text, i).value);
  return {all};
}

Value is_digit(Heap& heap, Value& receiver, const Arguments& arguments) {
  return all_code_points(heap, receiver, arguments, [](char32_t c) { return char_class(c) == CharClass::kNumber; });
}
Value is_alpha(Heap& heap, Value& receiver, const Arguments& arguments) {
  return all_code_points(heap, receiver, arguments, [](char32_t c) { return char_class(c) == CharClass::kLetter; });
}
Value is_alnum(Heap& heap, Value& receiver, const Arguments& arguments) {
  return all_code_points(heap, receiver, arguments, [](char32_t c) {
    return char_class(c) == CharClass::kLetter || char_class(c) == CharClass::kNumber;
  });
}
Value is_space(Heap& heap, Value& receiver, const Arguments& arguments) {
  return all_code_points(heap, receiver, arguments, is_python_space);
}
Value is_upper(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  return {is_upper_case(receiver.text())};
}
Value is_lower(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  return {is_lower_case(receiver.text())};
}

// "{} {0} {name}".format(...): fields without format specifications.
Value format(Heap& heap, Value& receiver, const Arguments& arguments) {
  const std::string_view text = receiver.text();
  std::string out;
  std::size_t next = 0;
  const auto field_value = [&](std::string_view field) -> Value {
    for (const auto& [name, value] : arguments.named) {
      if (name == field) return value;
    }
    const bool digits = !field.empty() && field.size() < 4 && field.find_first_not_of("0123456789") == field.npos;
    if (!field.empty() && !digits) unsupported(fmt::format("field '{{{}}}' of format() is not supported", field));
    const std::size_t position = digits ? std::stoul(std::string(field)) : next++;
    if (position >= arguments.positional.size()) refuse("has fewer values than fields");
    return arguments.positional[position];
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    heap.step();
    const bool twin = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] != '{' && text[i] != '}') || twin) {
      out.push_back(text[i]);
      i += (text[i] == '{' || text[i] == '}') && twin;
      continue;
    }
    const std::size_t end = text.find('}', i);
    if (text[i] == '}' || end == std::string_view::npos) refuse("has a single brace");
    out += to_text(heap, field_value(text.substr(i + 1, end - i - 1)));
    if (out.size() > heap.limits().memory.size()) refuse("the formatted text is too long");
    i = end;
  }
  return heap.text(std::move(out));
}

}  // namespace

Method find_text_method(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Method>, 29> kMethods{{
      {"strip", strip<true, true>},
      {"lstrip", strip<true, false>},
      {"rstrip", strip<false, true>},
      {"split", split<false>},
      {"rsplit", split<true>},
      {"splitlines", split_into_lines},
      {"startswith", has_affix<true>},
      {"endswith", has_affix<false>},
      {"removeprefix", remove_affix<true>},
      {"removesuffix", remove_affix<false>},
      {"upper", mapped<upper_case>},
      {"lower", mapped<lower_case>},
      {"casefold", mapped<lower_case>},
      {"title", mapped<title_case>},
      {"capitalize", mapped<capitalize>},
      {"replace", replace},
      {"find", find<false>},
      {"rfind", find<true>},
      {"index", index},
      {"count", count},
      {"join", join},
      {"format", format},
      {"isdigit", is_digit},
      {"isnumeric", is_digit},
      {"isalpha", is_alpha},
      {"isalnum", is_alnum},
      {"isspace", is_space},
      {"isupper", is_upper},
      {"islower", is_lower},
  }};
  for (const auto& [each, method] : kMethods) {
    if (each == name) return method;
  }
  return nullptr;
}

}  // namespace jericho::jinja
