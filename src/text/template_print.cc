// Values as text: Python's str() and repr(), and JSON as json.dumps() writes it. Start at to_text() or to_json().
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "text/template_strings.h"
#include "text/template_value.h"

namespace jericho::jinja {

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) refuse(fmt::format("values nested deeper than {} levels", kMaxValueDepth));
}

// What is being printed may be shared a thousandfold; it is counted as it grows.
class Printer {
 public:
  explicit Printer(Heap& heap) : heap_(heap) {}
  [[nodiscard]] std::string take() { return std::move(out_); }

  void repr(const Value& value, int depth) {
    check_depth(depth);
    if (value.is<Text>()) return put(quoted_repr(value.text()));
    if (value.is<List*>()) return repr_list(*value.as<List*>(), depth);
    if (value.is<Dict*>()) return repr_dict(*value.as<Dict*>(), depth);
    put(scalar(value));
  }

  void json(const Value& value, const JsonStyle& style, int depth) {
    check_depth(depth);
    if (value.is<Text>()) return put(quoted_json(value.text(), style.ascii));
    if (value.is<bool>()) return put(value.as<bool>() ? "true" : "false");
    if (value.is<None>()) return put("null");
    if (value.is<std::int64_t>()) return put(std::to_string(value.as<std::int64_t>()));
    if (value.is<double>()) return put(json_float(value.as<double>()));
    if (value.is<List*>()) return json_list(*value.as<List*>(), style, depth);
    if (value.is<Dict*>()) return json_dict(*value.as<Dict*>(), style, depth);
    refuse(fmt::format("tojson: {} has no JSON form", type_name(value)));
  }

  static std::string scalar(const Value& value) {
    if (value.is<None>()) return "None";
    if (value.is<bool>()) return value.as<bool>() ? "True" : "False";
    if (value.is<std::int64_t>()) return std::to_string(value.as<std::int64_t>());
    if (value.is<double>()) return float_repr(value.as<double>());
    if (value.is<Undefined>()) return "Undefined";
    refuse(fmt::format("{} has no text", type_name(value)));
  }

 private:
  void put(std::string_view text) {
    heap_.step(1 + text.size() / 64);
    if (out_.size() + text.size() > heap_.limits().memory.size()) refuse("the printed value is too long");
    out_ += text;
  }

  void repr_list(const List& list, int depth) {
    const bool tuple = list.kind == ListKind::kTuple;
    put(tuple ? "(" : "[");
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(", ");
      repr(list.items[i], depth + 1);
    }
    if (tuple && list.items.size() == 1) put(",");
    put(tuple ? ")" : "]");
  }

  void repr_dict(const Dict& dict, int depth) {
    put("{");
    for (std::size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) put(", ");
      repr(dict.entries[i].first, depth + 1);
      put(": ");
      repr(dict.entries[i].second, depth + 1);
    }
    put("}");
  }

  static std::string json_float(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_repr(number);
  }

  void break_line(const JsonStyle& style, int depth) {
    if (!style.indent) return;
    put("\n");
    for (int i = 0; i < depth; ++i) put(*style.indent);
  }

  void json_list(const List& list, const JsonStyle& style, int depth) {
    if (list.items.empty()) return put("[]");
    put("[");
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(style.item_separator);
      break_line(style, depth + 1);
      json(list.items[i], style, depth + 1);
    }
    break_line(style, depth);
    put("]");
  }

  void json_dict(const Dict& dict, const JsonStyle& style, int depth) {
    if (dict.entries.empty()) return put("{}");
    auto entries = dict.entries;
    heap_.step(entries.size());
    if (style.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return compare(heap_, a.first, b.first) < 0; });
    }
    put("{");
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) put(style.item_separator);
      break_line(style, depth + 1);
      json_key(entries[i].first, style);
      put(style.key_separator);
      json(entries[i].second, style, depth + 1);
    }
    break_line(style, depth);
    put("}");
  }

  void json_key(const Value& key, const JsonStyle& style) {
    if (key.is<Text>()) return put(quoted_json(key.text(), style.ascii));
    if (key.is<List*>()) refuse("tojson: a tuple cannot be a key");
    put("\"");
    json(key, style, 0);
    put("\"");
  }

  Heap& heap_;
  std::string out_;
};

}  // namespace

std::string to_text(Heap& heap, const Value& value) {
  if (value.is<Undefined>()) return {};
  if (value.is<Text>()) {
    heap.step(value.text().size() / 64);
    return std::string(value.text());
  }
  if (!value.is<List*>() && !value.is<Dict*>()) return Printer::scalar(value);
  Printer printer(heap);
  printer.repr(value, 0);
  return printer.take();
}

std::string to_json(Heap& heap, const Value& value, const JsonStyle& style) {
  Printer printer(heap);
  printer.json(value, style, 0);
  return printer.take();
}

}  // namespace jericho::jinja
