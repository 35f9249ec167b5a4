// Arguments, the global functions of a template's world, and the % operator of text. Start at call_global_function().
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_strings.h"

namespace jericho::jinja {

std::vector<std::optional<Value>> Arguments::bind(std::initializer_list<std::string_view> names,
                                                  std::size_t required) const {
  if (positional.size() > names.size()) {
    refuse(fmt::format("takes at most {} arguments, was given {}", names.size(), positional.size()));
  }
  std::vector<std::optional<Value>> bound(names.size());
  std::copy(positional.begin(), positional.end(), bound.begin());
  for (const auto& [name, value] : named) {
    const auto* place = std::find(names.begin(), names.end(), name);
    if (place == names.end()) refuse(fmt::format("takes no argument '{}'", name));
    auto& slot = bound[static_cast<std::size_t>(place - names.begin())];
    if (slot) refuse(fmt::format("was given argument '{}' twice", name));
    slot = value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!bound[i]) refuse(fmt::format("misses its argument '{}'", *(names.begin() + i)));
  }
  return bound;
}

void Arguments::none() const { (void)bind({}); }

Arguments Arguments::without(std::size_t count) const {
  Arguments rest{{}, named};
  if (positional.size() > count)
    rest.positional.assign(positional.begin() + static_cast<long>(count), positional.end());
  return rest;
}

namespace {

constexpr std::array<std::string_view, 12> kMonths{"January",   "February", "March",    "April",
                                                   "May",       "June",     "July",     "August",
                                                   "September", "October",  "November", "December"};
constexpr std::array<std::string_view, 7> kDays{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                "Thursday", "Friday", "Saturday"};

std::string time_field(const std::tm& now, char field) {
  const std::string_view month = kMonths[static_cast<std::size_t>(std::clamp(now.tm_mon, 0, 11))];
  const std::string_view day = kDays[static_cast<std::size_t>(std::clamp(now.tm_wday, 0, 6))];
  const int hour12 = now.tm_hour % 12 == 0 ? 12 : now.tm_hour % 12;
  switch (field) {
    case 'a': return std::string(day.substr(0, 3));
    case 'A': return std::string(day);
    case 'b': return std::string(month.substr(0, 3));
    case 'B': return std::string(month);
    case 'd': return fmt::format("{:02}", now.tm_mday);
    case 'e': return fmt::format("{:2}", now.tm_mday);
    case 'm': return fmt::format("{:02}", now.tm_mon + 1);
    case 'y': return fmt::format("{:02}", now.tm_year % 100);
    case 'Y': return fmt::format("{}", now.tm_year + 1900);
    case 'H': return fmt::format("{:02}", now.tm_hour);
    case 'I': return fmt::format("{:02}", hour12);
    case 'M': return fmt::format("{:02}", now.tm_min);
    case 'S': return fmt::format("{:02}", now.tm_sec);
    case 'p': return now.tm_hour < 12 ? "AM" : "PM";
    case 'j': return fmt::format("{:03}", now.tm_yday + 1);
    case 'F': return fmt::format("{}-{:02}-{:02}", now.tm_year + 1900, now.tm_mon + 1, now.tm_mday);
    case 'T': return fmt::format("{:02}:{:02}:{:02}", now.tm_hour, now.tm_min, now.tm_sec);
    case '%': return "%";
    default: unsupported(fmt::format("unknown time format '%{}'", field));
  }
}

Value strftime_now(Heap& heap, const Arguments& arguments, const std::tm& now) {
  const auto bound = arguments.bind({"format"}, 1);
  const std::string_view format = require_text(*bound[0], "format");
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    heap.step();
    if (format[i] == '%' && i + 1 < format.size()) {
      out += time_field(now, format[++i]);
    } else {
      out.push_back(format[i]);
    }
  }
  return heap.text(std::move(out));
}

Value range(Heap& heap, const Arguments& arguments) {
  const auto bound = arguments.bind({"start", "stop", "step"}, 1);
  const bool one = !bound[1];
  const std::int64_t begin = one ? 0 : require_integer(*bound[0], "start");
  const std::int64_t end = require_integer(one ? *bound[0] : *bound[1], "stop");
  const std::int64_t step = bound[2] ? require_integer(*bound[2], "step") : 1;
  if (step == 0) refuse("the step is 0");
  std::vector<Value> items;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    heap.step();
    if (items.size() == 100000) refuse("is longer than 100000, which Jinja's sandbox refuses too");
    items.push_back({i});
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return heap.list(std::move(items));
}

void set_named(Heap& heap, Dict& target, const Arguments& arguments) {
  if (arguments.positional.size() > 1) refuse("takes at most one dictionary");
  for (const Value& from : arguments.positional) {
    if (from.is<Dict*>()) {
      for (const auto& [key, value] : Dict(*from.as<Dict*>()).entries) target.set(heap, key, value);
      continue;
    }
    for (const Value& entry : iterate(heap, from)) {
      const std::vector<Value> parts = iterate(heap, entry);
      if (parts.size() != 2) refuse("expected pairs of a key and a value");
      target.set(heap, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) target.set(heap, heap.text(std::string(name)), value);
}

Value make_namespace(Heap& heap, const Arguments& arguments) {
  Value made = heap.object(ObjectKind::kNamespace);
  set_named(heap, made.as<Object*>()->attributes, arguments);
  return made;
}

Value make_dict(Heap& heap, const Arguments& arguments) {
  Value made = heap.dict();
  set_named(heap, *made.as<Dict*>(), arguments);
  return made;
}

Value make_helper(Heap& heap, ObjectKind kind, const Arguments& arguments) {
  Value made = heap.object(kind);
  auto& items = made.as<Object*>()->items;
  if (kind == ObjectKind::kCycler) {
    if (arguments.positional.empty() || !arguments.named.empty()) refuse("expected the values to cycle through");
    items = arguments.positional;
  } else {
    const auto bound = arguments.bind({"sep"});
    items.push_back(bound[0] ? *bound[0] : heap.text(", "));
  }
  heap.reserve(items.size() * sizeof(Value));
  return made;
}

}  // namespace

bool is_global_function(std::string_view name) {
  static constexpr std::array<std::string_view, 7> kNames{"namespace", "raise_exception", "strftime_now", "range",
                                                          "dict",      "cycler",          "joiner"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Value call_global_function(Heap& heap, std::string_view name, const Arguments& arguments, const std::tm& now) {
  if (name == "namespace") return make_namespace(heap, arguments);
  if (name == "strftime_now") return strftime_now(heap, arguments, now);
  if (name == "range") return range(heap, arguments);
  if (name == "dict") return make_dict(heap, arguments);
  if (name == "cycler") return make_helper(heap, ObjectKind::kCycler, arguments);
  if (name == "joiner") return make_helper(heap, ObjectKind::kJoiner, arguments);
  throw Error(ErrorKind::kInput, to_text(heap, *arguments.bind({"message"}, 1)[0]));  // raise_exception
}

Value call_helper_object(Heap& heap, Object& object, const Arguments& arguments) {
  if (object.kind != ObjectKind::kJoiner) refuse("cannot be called; a cycler has next()");
  arguments.none();
  return object.position++ == 0 ? heap.text("") : object.items[0];
}

namespace {

struct FormatField {
  bool left = false, zero = false, plus = false;
  std::size_t width = 0;
  std::optional<std::size_t> precision{};
};

std::size_t take_number(std::string_view format, std::size_t& i) {
  std::size_t number = 0;
  for (; i < format.size() && format[i] >= '0' && format[i] <= '9'; ++i) {
    number = number * 10 + static_cast<std::size_t>(format[i] - '0');
    if (number > 1000) refuse("a field of a % format is wider than 1000");
  }
  return number;
}

std::string format_field(Heap& heap, const FormatField& field, char type, const Value& value) {
  std::string text;
  const bool number = type != 's' && type != 'r';
  if (number && !is_number(value)) refuse(fmt::format("'%{}' expected a number, found {}", type, type_name(value)));
  if (type == 'd' || type == 'i') {
    text = fmt::format("{}", integer_of(value) ? *integer_of(value)
                                               : static_cast<std::int64_t>(std::clamp(number_of(value), -9e18, 9e18)));
  } else if (type == 'x') {
    text = fmt::format("{:x}", require_integer(value, "'%x'"));
  } else if (type == 'f') {
    text = fmt::format("{:.{}f}", number_of(value), static_cast<int>(field.precision.value_or(6)));
  } else if (type == 's') {
    text = to_text(heap, value);
    if (field.precision) {
      std::string cut;
      const auto points = code_points(text);
      for (std::size_t i = 0; i < std::min(*field.precision, points.size()); ++i) cut += points[i];
      text = cut;
    }
  } else {
    unsupported(fmt::format("unknown % format '%{}'", type));
  }
  if (number && field.plus && !text.starts_with('-')) text.insert(0, "+");
  const std::size_t size = count_code_points(text);
  if (size >= field.width) return text;
  const std::size_t missing = field.width - size;
  if (field.left) return text + std::string(missing, ' ');
  if (!field.zero || !number) return std::string(missing, ' ') + text;
  const bool sign = text.starts_with('-') || text.starts_with('+');
  return text.insert(sign ? 1 : 0, missing, '0');
}

}  // namespace

Value python_format(Heap& heap, std::string_view format, const Value& values) {
  std::vector<Value> fields{values};
  const bool tuple = values.is<List*>() && values.as<List*>()->kind == ListKind::kTuple;
  if (tuple) fields = values.as<List*>()->items;
  std::size_t used = 0;
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    heap.step();
    if (format[i] != '%') {
      out.push_back(format[i]);
      continue;
    }
    FormatField field;
    for (++i; i < format.size() && (format[i] == '-' || format[i] == '0' || format[i] == '+'); ++i) {
      (format[i] == '-' ? field.left : format[i] == '0' ? field.zero : field.plus) = true;
    }
    field.width = take_number(format, i);
    if (i < format.size() && format[i] == '.') field.precision = take_number(format, ++i);
    if (i == format.size()) refuse("the % format ends within a field");
    if (format[i] == '%') {
      out.push_back('%');
      continue;
    }
    if (used == fields.size()) refuse("the % format has more fields than there are values");
    const std::string text = format_field(heap, field, format[i], fields[used++]);
    heap.step(text.size() / 64);
    out += text;
    if (out.size() > heap.limits().memory.size()) refuse("the formatted text is too long");
  }
  if (used < fields.size() && !values.is<Dict*>()) refuse("the % format has fewer fields than there are values");
  return heap.text(std::move(out));
}

}  // namespace jericho::jinja
