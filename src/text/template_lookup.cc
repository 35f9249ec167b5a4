// value.name and value[key]. Start at attribute().
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"
#include "text/template_value.h"

namespace jericho::jinja {
namespace {

constexpr std::array<std::string_view, 2> kLoopMethods{"changed", "cycle"};

Value method_of(Heap& heap, const Value& receiver, std::string_view name) {
  Value made = heap.object(ObjectKind::kMethod, name);
  made.as<Object*>()->receiver = receiver;
  return made;
}

// What a for-loop tells its body.
Value loop_attribute(Heap& heap, const Value& value, std::string_view name) {
  const Object& loop = *value.as<Object*>();
  const std::size_t at = loop.position;
  const std::size_t count = loop.items.size();
  if (name == "index") return integer(at + 1);
  if (name == "index0") return integer(at);
  if (name == "revindex") return integer(count - at);
  if (name == "revindex0") return integer(count - at - 1);
  if (name == "first") return {at == 0};
  if (name == "last") return {at + 1 == count};
  if (name == "length") return integer(count);
  if (name == "depth") return {std::int64_t{1}};  // only recursive loops go deeper
  if (name == "depth0") return {std::int64_t{0}};
  if (name == "previtem") return at > 0 ? loop.items[at - 1] : Value{Undefined{"loop.previtem"}};
  if (name == "nextitem") return at + 1 < count ? loop.items[at + 1] : Value{Undefined{"loop.nextitem"}};
  for (const std::string_view method : kLoopMethods) {
    if (name == method) return method_of(heap, value, method);
  }
  unsupported(fmt::format("unknown loop variable 'loop.{}'", name));
}

Value object_attribute(Heap& heap, const Value& value, std::string_view name) {
  Object& object = *value.as<Object*>();
  if (object.kind == ObjectKind::kLoop) return loop_attribute(heap, value, name);
  if (object.kind == ObjectKind::kNamespace) {
    const Value* found = object.attributes.find(heap, name);
    return found != nullptr ? *found : Value{Undefined{name}};
  }
  if (object.kind == ObjectKind::kCycler && name == "current") return object.items[object.position];
  if (object.kind == ObjectKind::kCycler && find_method(value, name) != nullptr) return method_of(heap, value, name);
  if (object.kind == ObjectKind::kMacro && name == "name") return heap.text(std::string(object.name));
  return {Undefined{name}};
}

void refuse_undefined(const Value& value, std::string_view what) {
  if (value.is<Undefined>()) refuse(fmt::format("{} has no {}", type_name(value), what));
}

Value at_index(Heap& heap, const Value& value, std::int64_t index) {
  const auto count = static_cast<std::int64_t>(length(heap, value));
  if (index < 0) index += count;
  if (index < 0 || index >= count) return {Undefined{"the element"}};
  if (value.is<List*>()) return value.as<List*>()->items[static_cast<std::size_t>(index)];
  heap.step(value.text().size() / 4);
  return heap.text(std::string(code_points(value.text())[static_cast<std::size_t>(index)]));
}

}  // namespace

Value attribute(Heap& heap, const Value& value, std::string_view name) {
  refuse_undefined(value, fmt::format("attribute '{}'", name));
  if (value.is<Object*>()) return object_attribute(heap, value, name);
  if (find_method(value, name) != nullptr) return method_of(heap, value, name);
  if (value.is<Dict*>()) {
    if (const Value* found = value.as<Dict*>()->find(heap, name)) return *found;
  }
  return {Undefined{name}};
}

Value item(Heap& heap, const Value& value, const Value& key) {
  refuse_undefined(value, "elements");
  if (value.is<Dict*>()) {
    if (const Value* found = value.as<Dict*>()->find(heap, key)) return *found;
  } else if (const auto index = integer_of(key); index && (value.is<List*>() || value.is<Text>())) {
    return at_index(heap, value, *index);
  }
  if (!key.is<Text>()) return {Undefined{"the element"}};
  Value found = value.is<Object*>() ? object_attribute(heap, value, key.text()) : Value{Undefined{}};
  if (value.is<Object*>() || find_method(value, key.text()) == nullptr) {
    return found.is<Undefined>() ? Value{Undefined{"the element"}} : found;
  }
  unsupported(fmt::format("method '{}' looked up by a key is not supported", key.text()));
}

}  // namespace jericho::jinja
