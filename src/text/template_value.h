// The values a chat template computes with, as Python has them: text, numbers, lists, dictionaries, and what calls
// need. Lists and dictionaries are shared and mutable and may contain themselves, so a Heap owns them all until the
// rendering ends; the Heap also counts memory and steps, which is what makes a hostile template end. Start at Value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/error.h"
#include "text/chat_template.h"

namespace jericho::jinja {

// A failure without a place; the interpreter turns it into an Error that has one.
struct Fault {
  ErrorKind kind = ErrorKind::kInput;
  std::string message{};
};
[[noreturn]] void refuse(std::string message);       // the template or its input is wrong
[[noreturn]] void unsupported(std::string message);  // Jinja has it, we do not

inline constexpr int kMaxValueDepth = 100;  // lists within lists that printing and comparing follow

class Heap;
struct List;
struct Dict;
struct Object;

struct Undefined {
  std::string_view name{};  // of the variable or key, for errors; lives in the syntax tree
};
struct None {};

class TextBody {  // immutable bytes, UTF-8 as a rule, counted while they live
 public:
  TextBody(std::string bytes, Heap* heap);
  ~TextBody();
  TextBody(const TextBody&) = delete;
  TextBody& operator=(const TextBody&) = delete;
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  Heap* heap_;  // null: a literal of the template
};
using Text = std::shared_ptr<const TextBody>;

struct Value {
  std::variant<Undefined, None, bool, std::int64_t, double, Text, List*, Dict*, Object*> data{};

  template <class T>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<T>(data);
  }
  template <class T>
  [[nodiscard]] const T& as() const {
    return std::get<T>(data);
  }
  [[nodiscard]] std::string_view text() const { return std::get<Text>(data)->bytes(); }  // is<Text>()
};

enum class ListKind : std::uint8_t { kList, kTuple };
struct List {
  std::vector<Value> items{};
  ListKind kind = ListKind::kList;
};

struct Dict {  // in order of insertion
  std::vector<std::pair<Value, Value>> entries{};

  Value* find(Heap& heap, const Value& key);
  Value* find(Heap& heap, std::string_view key);
  void set(Heap& heap, const Value& key, Value value);  // refuses keys that Python cannot hash
};

struct Scope;
struct Statement;
enum class ObjectKind : std::uint8_t { kNamespace, kLoop, kMacro, kFunction, kMethod, kCycler, kJoiner };
struct Object {
  ObjectKind kind = ObjectKind::kFunction;
  std::string_view name{};           // of a function, method or macro
  Value receiver{};                  // of a method
  Dict attributes{};                 // of a namespace
  std::vector<Value> items{};        // of a loop or cycler
  std::size_t position = 0;          // in items; of a joiner: times called
  std::optional<Value> changed{};    // what loop.changed() saw last
  const Statement* macro = nullptr;  // its definition
  Scope* closure = nullptr;          // where it was defined
};

// Owns what a rendering makes and counts it. Refuses with Error(kInput) beyond its limits. One thread.
class Heap {
 public:
  explicit Heap(const RenderLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  void step(std::size_t count = 1);  // a unit of work, some ten nanoseconds
  void reserve(std::size_t bytes);   // before memory is taken
  void give_back(std::size_t bytes) { bytes_ -= bytes; }

  Value text(std::string bytes);
  Value list(std::vector<Value> items = {}, ListKind kind = ListKind::kList);
  Value pair(Value first, Value second);  // a tuple
  Value dict();
  Value object(ObjectKind kind, std::string_view name = {});
  void append(std::vector<Value>& items, Value value);
  Value from_json(const nlohmann::ordered_json& json);
  Value from_json(std::string_view text, std::string_view what);  // keeps the order of keys

  [[nodiscard]] const RenderLimits& limits() const { return limits_; }

 private:
  RenderLimits limits_;
  std::size_t steps_ = 0;
  std::size_t bytes_ = 0;
  std::deque<List> lists_{};
  std::deque<Dict> dicts_{};
  std::deque<Object> objects_{};
};

inline Value none() { return {None{}}; }
inline Value integer(std::size_t n) { return {static_cast<std::int64_t>(n)}; }

std::string type_name(const Value& value);  // in words: "text", "a list"
bool truth(const Value& value);
bool is_number(const Value& value);                          // bool counts, as in Python
std::optional<std::int64_t> integer_of(const Value& value);  // of an integer or bool
double number_of(const Value& value);                        // is_number()
std::int64_t require_integer(const Value& value, std::string_view what);
std::string_view require_text(const Value& value, std::string_view what);

bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
int compare(Heap& heap, const Value& a, const Value& b, int depth = 0);  // <0, 0, >0; refuses what has no order
bool contains(Heap& heap, const Value& container, const Value& item);
std::vector<Value> iterate(Heap& heap, const Value& value);  // a copy: text by code points, dictionaries by keys
std::size_t length(Heap& heap, const Value& value);

std::string to_text(Heap& heap, const Value& value);  // Python's str()
struct JsonStyle {
  std::optional<std::string> indent{};  // of one level
  std::string item_separator = ", ";    // "," with an indent
  std::string key_separator = ": ";
  bool ascii = false;
  bool sort_keys = false;
};
std::string to_json(Heap& heap, const Value& value, const JsonStyle& style);  // Python's json.dumps()
std::string float_repr(double number);                                        // Python's repr()

// value.name and value[key], as Jinja looks them up: methods before keys, and keys before methods.
Value attribute(Heap& heap, const Value& value, std::string_view name);
Value item(Heap& heap, const Value& value, const Value& key);

}  // namespace jericho::jinja
