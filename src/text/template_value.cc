// The heap, and what values are: kind, truth, equality, order. Start at Heap.
#include "text/template_value.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "formats/json_file.h"
#include "text/template_strings.h"

namespace jericho::jinja {

void refuse(std::string message) { throw Fault{ErrorKind::kInput, std::move(message)}; }
void unsupported(std::string message) { throw Fault{ErrorKind::kUnsupported, std::move(message)}; }

TextBody::TextBody(std::string bytes, Heap* heap) : bytes_(std::move(bytes)), heap_(heap) {
  if (heap_ != nullptr) heap_->reserve(bytes_.size());  // throws: nothing is given back, as nothing was taken
}

TextBody::~TextBody() {
  if (heap_ != nullptr) heap_->give_back(bytes_.size());
}

void Heap::step(std::size_t count) {
  steps_ += count;
  if (steps_ > limits_.steps || steps_ < count) {
    refuse(fmt::format("takes more than {} steps: does it end?", limits_.steps));
  }
}

void Heap::reserve(std::size_t bytes) {
  step(bytes / 64);
  bytes_ += bytes;
  if (bytes_ > limits_.memory.size()) {
    bytes_ -= bytes;
    refuse(fmt::format("needs more than {} of memory", format_bytes(limits_.memory)));
  }
}

Value Heap::text(std::string bytes) {
  step();
  return {std::make_shared<const TextBody>(std::move(bytes), this)};
}

Value Heap::list(std::vector<Value> items, ListKind kind) {
  reserve(sizeof(List) + items.size() * sizeof(Value));
  return {&lists_.emplace_back(List{std::move(items), kind})};
}

Value Heap::pair(Value first, Value second) { return list({std::move(first), std::move(second)}, ListKind::kTuple); }

Value Heap::dict() {
  reserve(sizeof(Dict));
  return {&dicts_.emplace_back()};
}

Value Heap::object(ObjectKind kind, std::string_view name) {
  reserve(sizeof(Object));
  Object& object = objects_.emplace_back();
  object.kind = kind;
  object.name = name;
  return {&object};
}

void Heap::append(std::vector<Value>& items, Value value) {
  reserve(2 * sizeof(Value));  // a vector grows ahead
  items.push_back(std::move(value));
}

Value Heap::from_json(const nlohmann::ordered_json& json) {
  step();
  if (json.is_null()) return none();
  if (json.is_boolean()) return {json.get<bool>()};
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return {json.get<double>()};
  if (json.is_number_integer()) return {json.get<std::int64_t>()};
  if (json.is_number_float()) return {json.get<double>()};
  if (json.is_string()) return text(json.get_ref<const std::string&>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const auto& each : json) items.push_back(from_json(each));
    return list(std::move(items));
  }
  Value made = dict();
  Dict& target = *made.as<Dict*>();
  for (const auto& [key, value] : json.items()) {
    reserve(4 * sizeof(Value));
    target.entries.emplace_back(text(key), from_json(value));
  }
  return made;
}

Value Heap::from_json(std::string_view text, std::string_view what) {
  check_json_depth(text, what);
  try {
    return from_json(nlohmann::ordered_json::parse(text));
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::kInput, fmt::format("{}: not valid JSON: {}", what, json_complaint(error.what())));
  }
}

Value* Dict::find(Heap& heap, const Value& key) {
  if (key.is<Text>()) return find(heap, key.text());
  heap.step(1 + entries.size() / 4);
  for (auto& [each, value] : entries) {
    if (equal(heap, each, key)) return &value;
  }
  return nullptr;
}

Value* Dict::find(Heap& heap, std::string_view key) {
  heap.step(1 + entries.size() / 4);
  for (auto& [each, value] : entries) {
    if (each.is<Text>() && each.text() == key) return &value;
  }
  return nullptr;
}

void Dict::set(Heap& heap, const Value& key, Value value) {
  const bool tuple = key.is<List*>() && key.as<List*>()->kind == ListKind::kTuple;
  if (key.is<Dict*>() || (key.is<List*>() && !tuple)) refuse(fmt::format("{} cannot be a key", type_name(key)));
  if (Value* old = find(heap, key)) {
    *old = std::move(value);
    return;
  }
  heap.reserve(4 * sizeof(Value));
  entries.emplace_back(key, std::move(value));
}

std::string type_name(const Value& value) {
  if (value.is<Undefined>()) {
    const std::string_view name = value.as<Undefined>().name;
    return name.empty() ? "an undefined value" : fmt::format("'{}', which is undefined,", name);
  }
  if (value.is<List*>()) return value.as<List*>()->kind == ListKind::kTuple ? "a tuple" : "a list";
  if (value.is<Object*>()) {
    constexpr std::string_view kNames[] = {"a namespace", "a loop",   "a macro", "a function",
                                           "a method",    "a cycler", "a joiner"};
    return std::string(kNames[static_cast<std::size_t>(value.as<Object*>()->kind)]);
  }
  constexpr std::string_view kNames[] = {"", "none", "a boolean", "an integer", "a float", "text", "", "a dictionary"};
  return std::string(kNames[value.data.index()]);
}

bool truth(const Value& value) {
  if (value.is<bool>()) return value.as<bool>();
  if (value.is<std::int64_t>()) return value.as<std::int64_t>() != 0;
  if (value.is<double>()) return value.as<double>() != 0;
  if (value.is<Text>()) return !value.text().empty();
  if (value.is<List*>()) return !value.as<List*>()->items.empty();
  if (value.is<Dict*>()) return !value.as<Dict*>()->entries.empty();
  return value.is<Object*>();
}

bool is_number(const Value& value) { return value.is<bool>() || value.is<std::int64_t>() || value.is<double>(); }

std::optional<std::int64_t> integer_of(const Value& value) {
  if (value.is<bool>()) return value.as<bool>() ? 1 : 0;
  if (value.is<std::int64_t>()) return value.as<std::int64_t>();
  return std::nullopt;
}

double number_of(const Value& value) {
  const auto whole = integer_of(value);
  return whole ? static_cast<double>(*whole) : value.as<double>();
}

std::int64_t require_integer(const Value& value, std::string_view what) {
  const auto whole = integer_of(value);
  if (!whole) refuse(fmt::format("{}: expected an integer, found {}", what, type_name(value)));
  return *whole;
}

std::string_view require_text(const Value& value, std::string_view what) {
  if (!value.is<Text>()) refuse(fmt::format("{}: expected text, found {}", what, type_name(value)));
  return value.text();
}

namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) refuse(fmt::format("values nested deeper than {} levels", kMaxValueDepth));
}

int three_way(double a, double b) { return a < b ? -1 : a > b ? 1 : 0; }

bool equal_lists(Heap& heap, const List& a, const List& b, int depth) {
  return &a == &b || (a.kind == b.kind && a.items.size() == b.items.size() &&
                      std::equal(a.items.begin(), a.items.end(), b.items.begin(),
                                 [&](const Value& x, const Value& y) { return equal(heap, x, y, depth + 1); }));
}

bool equal_dicts(Heap& heap, const Dict& a, Dict& b, int depth) {
  return &a == &b || (a.entries.size() == b.entries.size() &&
                      std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
                        const Value* other = b.find(heap, entry.first);
                        return other != nullptr && equal(heap, entry.second, *other, depth + 1);
                      }));
}

}  // namespace

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.step();
  check_depth(depth);
  if (is_number(a) && is_number(b)) {
    const auto x = integer_of(a);
    const auto y = integer_of(b);
    return x && y ? *x == *y : number_of(a) == number_of(b);
  }
  if (a.data.index() != b.data.index()) return false;
  if (a.is<Text>()) {
    heap.step(a.text().size() == b.text().size() ? a.text().size() / 64 : 0);
    return a.text() == b.text();
  }
  if (a.is<List*>()) return equal_lists(heap, *a.as<List*>(), *b.as<List*>(), depth);
  if (a.is<Dict*>()) return equal_dicts(heap, *a.as<Dict*>(), *b.as<Dict*>(), depth);
  return !a.is<Object*>() || a.as<Object*>() == b.as<Object*>();
}

int compare(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.step();
  check_depth(depth);
  if (is_number(a) && is_number(b)) {
    const auto x = integer_of(a);
    const auto y = integer_of(b);
    if (x && y) return *x < *y ? -1 : *x > *y ? 1 : 0;
    return three_way(number_of(a), number_of(b));
  }
  if (a.is<Text>() && b.is<Text>()) {
    heap.step(std::min(a.text().size(), b.text().size()) / 64);
    return a.text().compare(b.text());  // bytes of UTF-8 have the order of code points
  }
  if (a.is<List*>() && b.is<List*>() && a.as<List*>()->kind == b.as<List*>()->kind) {
    const auto& x = a.as<List*>()->items;
    const auto& y = b.as<List*>()->items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(heap, x[i], y[i], depth + 1)) return compare(heap, x[i], y[i], depth + 1);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  refuse(fmt::format("{} and {} have no order", type_name(a), type_name(b)));
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (container.is<Text>()) {
    const std::string_view part = require_text(item, "'in' on text");
    heap.step(container.text().size() / 64);
    return container.text().find(part) != std::string_view::npos;
  }
  if (container.is<Dict*>()) return container.as<Dict*>()->find(heap, item) != nullptr;
  const std::vector<Value> items = iterate(heap, container);
  return std::any_of(items.begin(), items.end(), [&](const Value& each) { return equal(heap, each, item); });
}

std::vector<Value> iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  if (value.is<List*>()) {
    const auto& from = value.as<List*>()->items;
    heap.step(from.size());
    return from;
  }
  if (value.is<Dict*>()) {
    heap.step(value.as<Dict*>()->entries.size());
    for (const auto& entry : value.as<Dict*>()->entries) items.push_back(entry.first);
  } else if (value.is<Text>()) {
    for (const std::string_view point : code_points(value.text())) items.push_back(heap.text(std::string(point)));
  } else if (!value.is<Undefined>()) {
    refuse(fmt::format("cannot walk through {}", type_name(value)));
  }
  return items;
}

std::size_t length(Heap& heap, const Value& value) {
  if (value.is<Text>()) {
    heap.step(value.text().size() / 16);
    return count_code_points(value.text());
  }
  if (value.is<List*>()) return value.as<List*>()->items.size();
  if (value.is<Dict*>()) return value.as<Dict*>()->entries.size();
  if (value.is<Undefined>()) return 0;
  refuse(fmt::format("{} has no length", type_name(value)));
}

}  // namespace jericho::jinja
