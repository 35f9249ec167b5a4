// What a template can call without defining it: filters, tests, methods of values, global functions. Each is a plain
// function in a table by name, in template_filters.cc, template_list_filters.cc, template_tests.cc,
// template_methods.cc and template_functions.cc: adding one is one entry. Start at find_filter().
#pragma once

#include <cstddef>
#include <ctime>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template_value.h"

namespace jericho::jinja {

struct Arguments {
  std::vector<Value> positional{};
  std::vector<std::pair<std::string_view, Value>> named{};

  // In the order of `names`, absent ones empty. Refuses too many, unknown ones, twins, and fewer than `required`.
  [[nodiscard]] std::vector<std::optional<Value>> bind(std::initializer_list<std::string_view> names,
                                                       std::size_t required = 0) const;
  void none() const;                                         // refuses any
  [[nodiscard]] Arguments without(std::size_t count) const;  // the positional ones after the first `count`
};

using Filter = Value (*)(Heap& heap, const Value& value, const Arguments& arguments);
using Test = bool (*)(Heap& heap, const Value& value, const Arguments& arguments);
using Method = Value (*)(Heap& heap, Value& receiver, const Arguments& arguments);

Filter find_filter(std::string_view name);       // null: unknown; so below
Filter find_list_filter(std::string_view name);  // those on lists; find_filter() asks it
Test find_test(std::string_view name);

Method find_method(const Value& receiver, std::string_view name);
Method find_text_method(std::string_view name);

// The functions of a template's world. raise_exception() throws its message as Error(kInput).
bool is_global_function(std::string_view name);
Value call_global_function(Heap& heap, std::string_view name, const Arguments& arguments, const std::tm& now);
Value call_helper_object(Heap& heap, Object& object, const Arguments& arguments);  // a cycler or joiner itself

Value python_format(Heap& heap, std::string_view format, const Value& values);  // format % values

}  // namespace jericho::jinja
