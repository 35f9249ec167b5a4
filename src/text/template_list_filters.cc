// Filters on lists and dictionaries. Where Jinja gives a generator, these give a list. Start at find_list_filter().
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"

namespace jericho::jinja {
namespace {

// "a.b.0" of filters that take an attribute; an integer is an index.
Value path(Heap& heap, Value value, const Value& attribute_path) {
  if (!attribute_path.is<Text>()) return item(heap, value, attribute_path);
  for (const std::string_view part : split_at(attribute_path.text(), ".", -1)) {
    const bool digits = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    const Value key = digits ? Value{std::int64_t{std::stol(std::string(part))}} : heap.text(std::string(part));
    value = item(heap, value, key);
  }
  return value;
}

Value items(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  if (value.is<Undefined>()) return heap.list();
  if (!value.is<Dict*>()) refuse(fmt::format("expected a dictionary, found {}", type_name(value)));
  Value receiver = value;
  return find_method(value, "items")(heap, receiver, {});
}

Value join(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"d", "attribute"});
  const std::string between = bound[0] ? to_text(heap, *bound[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& each : iterate(heap, value)) {
    if (!first) out += between;
    out += to_text(heap, bound[1] ? path(heap, each, *bound[1]) : each);
    heap.step(1 + between.size() / 64);
    if (out.size() > heap.limits().memory.size()) refuse("the joined text is too long");
    first = false;
  }
  return heap.text(std::move(out));
}

Value list(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return heap.list(iterate(heap, value));
}

template <bool kWanted, bool kByAttribute>
Value select(Heap& heap, const Value& value, const Arguments& arguments) {
  const std::size_t own = kByAttribute ? 1 : 0;
  if (arguments.positional.size() < own) refuse("misses its argument 'attribute'");
  Test test = nullptr;
  if (arguments.positional.size() > own) {
    const std::string_view name = require_text(arguments.positional[own], "the name of a test");
    test = find_test(name);
    if (test == nullptr) unsupported(fmt::format("unknown test '{}'", name));
  }
  const Arguments rest = arguments.without(own + 1);
  std::vector<Value> kept;
  for (const Value& each : iterate(heap, value)) {
    const Value judged = kByAttribute ? path(heap, each, arguments.positional[0]) : each;
    if ((test != nullptr ? test(heap, judged, rest) : truth(judged)) == kWanted) kept.push_back(each);
  }
  return heap.list(std::move(kept));
}

Value map(Heap& heap, const Value& value, const Arguments& arguments) {
  std::vector<Value> mapped;
  if (arguments.positional.empty()) {
    const auto bound = arguments.bind({"attribute", "default"}, 1);
    for (const Value& each : iterate(heap, value)) {
      Value found = path(heap, each, *bound[0]);
      mapped.push_back(found.is<Undefined>() && bound[1] ? *bound[1] : found);
    }
    return heap.list(std::move(mapped));
  }
  const std::string_view name = require_text(arguments.positional[0], "the name of a filter");
  const Filter filter = find_filter(name);
  if (filter == nullptr) unsupported(fmt::format("unknown filter '{}'", name));
  const Arguments rest = arguments.without(1);
  for (const Value& each : iterate(heap, value)) mapped.push_back(filter(heap, each, rest));
  return heap.list(std::move(mapped));
}

// Text without regard to case unless asked.
Value sort_key(Heap& heap, const Value& value, bool case_sensitive) {
  return case_sensitive || !value.is<Text>() ? value : heap.text(lower_case(value.text()));
}

struct Keyed {
  Value key{};
  Value value{};
};

std::vector<Keyed> keyed(Heap& heap, const Value& value, const std::optional<Value>& by, bool case_sensitive) {
  std::vector<Keyed> all;
  for (const Value& each : iterate(heap, value)) {
    const bool has_path = by && !by->is<None>();
    all.push_back({sort_key(heap, has_path ? path(heap, each, *by) : each, case_sensitive), each});
  }
  return all;
}

void sort_keyed(Heap& heap, std::vector<Keyed>& all, bool reverse) {
  std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? compare(heap, a.key, b.key) > 0 : compare(heap, a.key, b.key) < 0;
  });
}

Value values_of(Heap& heap, const std::vector<Keyed>& all) {
  std::vector<Value> values;
  for (const Keyed& each : all) values.push_back(each.value);
  return heap.list(std::move(values));
}

Value sort(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"reverse", "case_sensitive", "attribute"});
  auto all = keyed(heap, value, bound[2], bound[1] && truth(*bound[1]));
  sort_keyed(heap, all, bound[0] && truth(*bound[0]));
  return values_of(heap, all);
}

Value unique(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"case_sensitive", "attribute"});
  std::vector<Keyed> kept;
  for (const Keyed& each : keyed(heap, value, bound[1], bound[0] && truth(*bound[0]))) {
    const bool known =
        std::any_of(kept.begin(), kept.end(), [&](const Keyed& k) { return equal(heap, k.key, each.key); });
    if (!known) kept.push_back(each);
  }
  return values_of(heap, kept);
}

template <bool kLargest>
Value extreme(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"case_sensitive", "attribute"});
  const auto all = keyed(heap, value, bound[1], bound[0] && truth(*bound[0]));
  if (all.empty()) return {Undefined{"the extreme of nothing"}};
  const Keyed* best = &all[0];
  for (const Keyed& each : all) {
    const int order = compare(heap, each.key, best->key);
    if (kLargest ? order > 0 : order < 0) best = &each;
  }
  return best->value;
}

Value first(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  const auto all = iterate(heap, value);
  return all.empty() ? Value{Undefined{"the first of nothing"}} : all.front();
}

Value last(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  const auto all = iterate(heap, value);
  return all.empty() ? Value{Undefined{"the last of nothing"}} : all.back();
}

Value reverse(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  auto all = iterate(heap, value);
  std::reverse(all.begin(), all.end());
  if (!value.is<Text>()) return heap.list(std::move(all));
  std::string text;
  for (const Value& each : all) text += each.text();
  return heap.text(std::move(text));
}

Value sum(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"attribute", "start"});
  Value total = bound[1].value_or(Value{std::int64_t{0}});
  for (const Value& each : iterate(heap, value)) {
    const Value next = bound[0] && !bound[0]->is<None>() ? path(heap, each, *bound[0]) : each;
    if (!is_number(total) || !is_number(next)) refuse(fmt::format("expected numbers, found {}", type_name(next)));
    std::int64_t whole = 0;
    if (integer_of(total) && integer_of(next)) {
      if (__builtin_add_overflow(*integer_of(total), *integer_of(next), &whole)) refuse("does not fit 64 bits");
      total = {whole};
    } else {
      total = {number_of(total) + number_of(next)};
    }
  }
  return total;
}

Value dict_sort(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"case_sensitive", "by", "reverse"});
  const std::string_view by = bound[1] ? require_text(*bound[1], "by") : "key";
  if (by != "key" && by != "value") refuse("by: expected 'key' or 'value'");
  const Value position{std::int64_t{by == "value"}};
  auto all = keyed(heap, items(heap, value, {}), position, bound[0] && truth(*bound[0]));
  sort_keyed(heap, all, bound[2] && truth(*bound[2]));
  return values_of(heap, all);
}

Value group_by(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"attribute", "default", "case_sensitive"}, 1);
  auto all = keyed(heap, value, bound[0], bound[2] && truth(*bound[2]));
  for (Keyed& each : all) {
    if (each.key.is<Undefined>() && bound[1]) each.key = *bound[1];
  }
  sort_keyed(heap, all, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    std::vector<Value> members;
    while (end < all.size() && equal(heap, all[begin].key, all[end].key)) members.push_back(all[end++].value);
    Value name = path(heap, all[begin].value, *bound[0]);
    if (name.is<Undefined>()) name = all[begin].key;
    groups.push_back(heap.pair(name, heap.list(std::move(members))));
  }
  return heap.list(std::move(groups));
}

Value batch(Heap& heap, const Value& value, const Arguments& arguments) {
  const auto bound = arguments.bind({"linecount", "fill_with"}, 1);
  const std::int64_t size = require_integer(*bound[0], "linecount");
  if (size < 1 || size > 100000) refuse("linecount: expected 1 to 100000");
  std::vector<Value> rows;
  std::vector<Value> row;
  const auto flush = [&] { rows.push_back(heap.list(std::exchange(row, {}))); };
  for (const Value& each : iterate(heap, value)) {
    if (row.size() == static_cast<std::size_t>(size)) flush();
    row.push_back(each);
  }
  if (bound[1] && !row.empty()) row.resize(static_cast<std::size_t>(size), *bound[1]);
  if (!row.empty()) flush();
  return heap.list(std::move(rows));
}

}  // namespace

Filter find_list_filter(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Filter>, 19> kFilters{{
      {"items", items},
      {"join", join},
      {"list", list},
      {"select", select<true, false>},
      {"reject", select<false, false>},
      {"selectattr", select<true, true>},
      {"rejectattr", select<false, true>},
      {"map", map},
      {"sort", sort},
      {"unique", unique},
      {"min", extreme<false>},
      {"max", extreme<true>},
      {"first", first},
      {"last", last},
      {"reverse", reverse},
      {"sum", sum},
      {"dictsort", dict_sort},
      {"groupby", group_by},
      {"batch", batch},
  }};
  for (const auto& [each, filter] : kFilters) {
    if (each == name) return filter;
  }
  return nullptr;
}

}  // namespace jericho::jinja
