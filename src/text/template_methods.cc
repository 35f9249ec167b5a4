// Methods of text, lists and dictionaries, named and behaving as Python's. Start at find_method().
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"

namespace jericho::jinja {
namespace {

std::vector<Value>& items_of(Value& list) {
  if (list.as<List*>()->kind == ListKind::kTuple) refuse("a tuple cannot be changed");
  return list.as<List*>()->items;
}

Value list_append(Heap& heap, Value& receiver, const Arguments& arguments) {
  heap.append(items_of(receiver), *arguments.bind({"item"}, 1)[0]);
  return none();
}

Value list_extend(Heap& heap, Value& receiver, const Arguments& arguments) {
  for (const Value& each : iterate(heap, *arguments.bind({"items"}, 1)[0])) heap.append(items_of(receiver), each);
  return none();
}

Value list_insert(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"index", "item"}, 2);
  auto& items = items_of(receiver);
  const auto count = static_cast<std::int64_t>(items.size());
  std::int64_t index = require_integer(*bound[0], "index");
  if (index < 0) index = std::max<std::int64_t>(index + count, 0);
  heap.reserve(2 * sizeof(Value));
  heap.step(items.size());
  items.insert(items.begin() + std::min(index, count), *bound[1]);
  return none();
}

Value list_pop(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"index"});
  auto& items = items_of(receiver);
  const auto count = static_cast<std::int64_t>(items.size());
  std::int64_t index = bound[0] ? require_integer(*bound[0], "index") : -1;
  if (index < 0) index += count;
  if (index < 0 || index >= count) refuse(fmt::format("pop from a list of {} at {}", count, index));
  heap.step(items.size());
  Value taken = items[static_cast<std::size_t>(index)];
  items.erase(items.begin() + index);
  return taken;
}

Value list_index(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value wanted = *arguments.bind({"item"}, 1)[0];
  const auto& items = receiver.as<List*>()->items;
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const Value& each) { return equal(heap, each, wanted); });
  if (found == items.end()) refuse("the value is not in the list");
  return integer(static_cast<std::size_t>(found - items.begin()));
}

Value list_count(Heap& heap, Value& receiver, const Arguments& arguments) {
  const Value wanted = *arguments.bind({"item"}, 1)[0];
  const auto& items = receiver.as<List*>()->items;
  const auto count =
      std::count_if(items.begin(), items.end(), [&](const Value& each) { return equal(heap, each, wanted); });
  return {static_cast<std::int64_t>(count)};
}

Value list_reverse(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  auto& items = items_of(receiver);
  heap.step(items.size());
  std::reverse(items.begin(), items.end());
  return none();
}

Value list_copy(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  return heap.list(receiver.as<List*>()->items);
}

Value list_clear(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  items_of(receiver).clear();
  return none();
}

Value dict_keys(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  return heap.list(iterate(heap, receiver));
}

Value dict_values(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  std::vector<Value> values;
  for (const auto& entry : receiver.as<Dict*>()->entries) values.push_back(entry.second);
  return heap.list(std::move(values));
}

Value dict_items(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  std::vector<Value> pairs;
  for (const auto& [key, value] : receiver.as<Dict*>()->entries) pairs.push_back(heap.pair(key, value));
  return heap.list(std::move(pairs));
}

Value dict_get(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"key", "default"}, 1);
  const Value* found = receiver.as<Dict*>()->find(heap, *bound[0]);
  return found != nullptr ? *found : bound[1].value_or(none());
}

Value dict_set_default(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"key", "default"}, 1);
  if (const Value* found = receiver.as<Dict*>()->find(heap, *bound[0])) return *found;
  receiver.as<Dict*>()->set(heap, *bound[0], bound[1].value_or(none()));
  return bound[1].value_or(none());
}

Value dict_pop(Heap& heap, Value& receiver, const Arguments& arguments) {
  const auto bound = arguments.bind({"key", "default"}, 1);
  auto& entries = receiver.as<Dict*>()->entries;
  heap.step(entries.size());
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
    if (!equal(heap, entry->first, *bound[0])) continue;
    Value taken = entry->second;
    entries.erase(entry);
    return taken;
  }
  if (!bound[1]) refuse(fmt::format("the dictionary has no key '{}'", to_text(heap, *bound[0])));
  return *bound[1];
}

Value dict_update(Heap& heap, Value& receiver, const Arguments& arguments) {
  Dict& target = *receiver.as<Dict*>();
  for (const Value& from : arguments.positional) {
    if (!from.is<Dict*>()) refuse(fmt::format("expected a dictionary, found {}", type_name(from)));
    heap.step(from.as<Dict*>()->entries.size());
    for (const auto& [key, value] : Dict(*from.as<Dict*>()).entries) target.set(heap, key, value);
  }
  for (const auto& [name, value] : arguments.named) target.set(heap, heap.text(std::string(name)), value);
  return none();
}

Value dict_copy(Heap& heap, Value& receiver, const Arguments& arguments) {
  arguments.none();
  Value made = heap.dict();
  heap.reserve(receiver.as<Dict*>()->entries.size() * 2 * sizeof(Value));
  made.as<Dict*>()->entries = receiver.as<Dict*>()->entries;
  return made;
}

Value dict_clear(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  receiver.as<Dict*>()->entries.clear();
  return none();
}

Value loop_cycle(Heap&, Value& receiver, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) refuse("expected the values to cycle through");
  return arguments.positional[receiver.as<Object*>()->position % arguments.positional.size()];
}

Value loop_changed(Heap& heap, Value& receiver, const Arguments& arguments) {
  Value now = heap.list(arguments.positional, ListKind::kTuple);
  auto& last = receiver.as<Object*>()->changed;
  const bool changed = !last || !equal(heap, *last, now);
  last = now;
  return {changed};
}

Value cycler_next(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  Object& cycler = *receiver.as<Object*>();
  Value now = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return now;
}

Value cycler_reset(Heap&, Value& receiver, const Arguments& arguments) {
  arguments.none();
  receiver.as<Object*>()->position = 0;
  return none();
}

template <std::size_t N>
Method find_in(const std::array<std::pair<std::string_view, Method>, N>& methods, std::string_view name) {
  for (const auto& [each, method] : methods) {
    if (each == name) return method;
  }
  return nullptr;
}

constexpr std::array<std::pair<std::string_view, Method>, 9> kListMethods{{
    {"append", list_append},
    {"extend", list_extend},
    {"insert", list_insert},
    {"pop", list_pop},
    {"index", list_index},
    {"count", list_count},
    {"reverse", list_reverse},
    {"copy", list_copy},
    {"clear", list_clear},
}};

constexpr std::array<std::pair<std::string_view, Method>, 9> kDictMethods{{
    {"keys", dict_keys},
    {"values", dict_values},
    {"items", dict_items},
    {"get", dict_get},
    {"pop", dict_pop},
    {"setdefault", dict_set_default},
    {"update", dict_update},
    {"copy", dict_copy},
    {"clear", dict_clear},
}};

constexpr std::array<std::pair<std::string_view, Method>, 2> kLoopMethods{{
    {"cycle", loop_cycle},
    {"changed", loop_changed},
}};

constexpr std::array<std::pair<std::string_view, Method>, 2> kCyclerMethods{{
    {"next", cycler_next},
    {"reset", cycler_reset},
}};

}  // namespace

Method find_method(const Value& receiver, std::string_view name) {
  if (receiver.is<Text>()) return find_text_method(name);
  if (receiver.is<List*>()) return find_in(kListMethods, name);
  if (receiver.is<Dict*>()) return find_in(kDictMethods, name);
  if (!receiver.is<Object*>()) return nullptr;
  const ObjectKind kind = receiver.as<Object*>()->kind;
  if (kind == ObjectKind::kCycler) return find_in(kCyclerMethods, name);
  return kind == ObjectKind::kLoop ? find_in(kLoopMethods, name) : nullptr;
}

}  // namespace jericho::jinja
