// What stands behind "is". Start at find_test().
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"

namespace jericho::jinja {
namespace {

template <class T>
bool is_kind(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<T>();
}

template <bool kWanted>
bool is_boolean_value(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<bool>() && value.as<bool>() == kWanted;
}

Value other(const Arguments& arguments) { return *arguments.bind({"other"}, 1)[0]; }

bool is_defined(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return !value.is<Undefined>();
}

bool is_any_number(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return is_number(value);
}

bool is_mapping(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<Dict*>();
}

bool is_sequence(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<Text>() || value.is<List*>() || value.is<Dict*>() || value.is<Undefined>();
}

bool is_callable(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return value.is<Object*>() && value.as<Object*>()->kind != ObjectKind::kNamespace &&
         value.as<Object*>()->kind != ObjectKind::kCycler;
}

bool is_equal(Heap& heap, const Value& value, const Arguments& arguments) {
  return equal(heap, value, other(arguments));
}
bool is_not_equal(Heap& heap, const Value& value, const Arguments& arguments) {
  return !equal(heap, value, other(arguments));
}
bool is_less(Heap& heap, const Value& value, const Arguments& arguments) {
  return compare(heap, value, other(arguments)) < 0;
}
bool is_less_equal(Heap& heap, const Value& value, const Arguments& arguments) {
  return compare(heap, value, other(arguments)) <= 0;
}
bool is_greater(Heap& heap, const Value& value, const Arguments& arguments) {
  return compare(heap, value, other(arguments)) > 0;
}
bool is_greater_equal(Heap& heap, const Value& value, const Arguments& arguments) {
  return compare(heap, value, other(arguments)) >= 0;
}
bool is_in(Heap& heap, const Value& value, const Arguments& arguments) {
  return contains(heap, other(arguments), value);
}

std::int64_t remainder(const Value& value, std::int64_t divisor, std::string_view test) {
  if (divisor == 0) refuse("division by zero");
  return divisor == -1 ? 0 : require_integer(value, test) % divisor;
}
bool is_odd(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return remainder(value, 2, "the test 'odd'") != 0;
}
bool is_even(Heap&, const Value& value, const Arguments& arguments) {
  arguments.none();
  return remainder(value, 2, "the test 'even'") == 0;
}
bool is_divisible_by(Heap&, const Value& value, const Arguments& arguments) {
  return remainder(value, require_integer(other(arguments), "the divisor"), "the test 'divisibleby'") == 0;
}

bool is_upper(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return is_upper_case(to_text(heap, value));
}
bool is_lower(Heap& heap, const Value& value, const Arguments& arguments) {
  arguments.none();
  return is_lower_case(to_text(heap, value));
}

// Python's "is": singletons, and the same list or dictionary. Of numbers and text it depends on caching; equality of
// one kind is the nearest meaning.
bool is_same_as(Heap& heap, const Value& value, const Arguments& arguments) {
  const Value against = other(arguments);
  if (value.is<List*>()) return against.is<List*>() && value.as<List*>() == against.as<List*>();
  if (value.is<Dict*>()) return against.is<Dict*>() && value.as<Dict*>() == against.as<Dict*>();
  return value.data.index() == against.data.index() && equal(heap, value, against);
}

}  // namespace

Test find_test(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Test>, 36> kTests{{
      {"defined", is_defined},
      {"undefined", is_kind<Undefined>},
      {"none", is_kind<None>},
      {"string", is_kind<Text>},
      {"boolean", is_kind<bool>},
      {"integer", is_kind<std::int64_t>},
      {"float", is_kind<double>},
      {"number", is_any_number},
      {"true", is_boolean_value<true>},
      {"false", is_boolean_value<false>},
      {"mapping", is_mapping},
      {"sequence", is_sequence},
      {"iterable", is_sequence},
      {"callable", is_callable},
      {"eq", is_equal},
      {"equalto", is_equal},
      {"==", is_equal},
      {"ne", is_not_equal},
      {"!=", is_not_equal},
      {"lt", is_less},
      {"lessthan", is_less},
      {"<", is_less},
      {"le", is_less_equal},
      {"<=", is_less_equal},
      {"gt", is_greater},
      {"greaterthan", is_greater},
      {">", is_greater},
      {"ge", is_greater_equal},
      {">=", is_greater_equal},
      {"in", is_in},
      {"odd", is_odd},
      {"even", is_even},
      {"divisibleby", is_divisible_by},
      {"upper", is_upper},
      {"lower", is_lower},
      {"sameas", is_same_as},
  }};
  for (const auto& [each, test] : kTests) {
    if (each == name) return test;
  }
  return nullptr;
}

}  // namespace jericho::jinja
