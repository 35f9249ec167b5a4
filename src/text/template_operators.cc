// Operators on two values, and slices, as Python defines them. Integers have 64 bits; what does not fit is refused.
// Start at binary().
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "text/template_interpreter.h"
#include "text/template_strings.h"

namespace jericho::jinja {
namespace {

constexpr std::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void refuse_operands(Operator op, const Value& left, const Value& right) {
  refuse(
      fmt::format("{} {} {} has no meaning", type_name(left), kSigns[static_cast<std::size_t>(op)], type_name(right)));
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) return {std::pow(static_cast<double>(base), static_cast<double>(exponent))};
  std::int64_t power = 1;
  if (base >= -1 && base <= 1) return {base == -1 && exponent % 2 == 0 ? 1 : exponent == 0 ? 1 : base};
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(power, base, &power)) refuse("the integer does not fit 64 bits");
  }
  return {power};
}

Value integers(Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Operator::kAdd: overflow = __builtin_add_overflow(a, b, &result); break;
    case Operator::kSubtract: overflow = __builtin_sub_overflow(a, b, &result); break;
    case Operator::kMultiply: overflow = __builtin_mul_overflow(a, b, &result); break;
    case Operator::kPower: return integer_power(a, b);
    default:
      if (b == 0) refuse("division by zero");
      if (op == Operator::kDivide) return {static_cast<double>(a) / static_cast<double>(b)};
      if (b == -1) {  // the one quotient that can overflow
        if (op == Operator::kModulo) return {std::int64_t{0}};
        overflow = __builtin_sub_overflow(std::int64_t{0}, a, &result);
        break;
      }
      const bool round_down = a % b != 0 && (a < 0) != (b < 0);
      result = op == Operator::kModulo ? a % b + (round_down ? b : 0) : a / b - (round_down ? 1 : 0);
  }
  if (overflow) refuse("the integer does not fit 64 bits");
  return {result};
}

Value floats(Operator op, double a, double b) {
  if (b == 0 && (op == Operator::kDivide || op == Operator::kFloorDivide || op == Operator::kModulo)) {
    refuse("division by zero");
  }
  switch (op) {
    case Operator::kAdd: return {a + b};
    case Operator::kSubtract: return {a - b};
    case Operator::kMultiply: return {a * b};
    case Operator::kDivide: return {a / b};
    case Operator::kFloorDivide: return {std::floor(a / b)};
    case Operator::kPower: return {std::pow(a, b)};
    default: break;
  }
  const double rest = std::fmod(a, b);
  return {rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest};
}

Value repeat(Heap& heap, const Value& sequence, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const bool text = sequence.is<Text>();
  const std::size_t size = text ? sequence.text().size() : sequence.as<List*>()->items.size();
  std::size_t total = 0;
  if (__builtin_mul_overflow(size, count, &total) || total > heap.limits().memory.size()) {
    refuse("the repeated value is too long");
  }
  heap.step(count / 16 + total / 16);
  if (text) {
    std::string out;
    out.reserve(total);
    for (std::size_t i = 0; i < count && size > 0; ++i) out += sequence.text();
    return heap.text(std::move(out));
  }
  heap.reserve(total * sizeof(Value));
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && size > 0; ++i) {
    items.insert(items.end(), sequence.as<List*>()->items.begin(), sequence.as<List*>()->items.end());
  }
  return heap.list(std::move(items), sequence.as<List*>()->kind);
}

Value add(Heap& heap, const Value& left, const Value& right) {
  if (left.is<Text>() && right.is<Text>()) {
    std::string text;
    text.reserve(left.text().size() + right.text().size());
    text += left.text();
    text += right.text();
    return heap.text(std::move(text));
  }
  const bool lists = left.is<List*>() && right.is<List*>() && left.as<List*>()->kind == right.as<List*>()->kind;
  if (!lists) refuse_operands(Operator::kAdd, left, right);
  std::vector<Value> items = left.as<List*>()->items;
  items.insert(items.end(), right.as<List*>()->items.begin(), right.as<List*>()->items.end());
  return heap.list(std::move(items), left.as<List*>()->kind);
}

}  // namespace

Value binary(Heap& heap, Operator op, const Value& left, const Value& right) {
  if (is_number(left) && is_number(right)) {
    const auto a = integer_of(left);
    const auto b = integer_of(right);
    return a && b ? integers(op, *a, *b) : floats(op, number_of(left), number_of(right));
  }
  if (op == Operator::kAdd) return add(heap, left, right);
  if (op == Operator::kModulo && left.is<Text>()) return python_format(heap, left.text(), right);
  if (op == Operator::kMultiply) {
    if ((left.is<Text>() || left.is<List*>()) && integer_of(right)) return repeat(heap, left, *integer_of(right));
    if ((right.is<Text>() || right.is<List*>()) && integer_of(left)) return repeat(heap, right, *integer_of(left));
  }
  refuse_operands(op, left, right);
}

bool compares(Heap& heap, Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Operator::kEqual: return equal(heap, left, right);
    case Operator::kNotEqual: return !equal(heap, left, right);
    case Operator::kIn: return contains(heap, right, left);
    case Operator::kNotIn: return !contains(heap, right, left);
    default: break;
  }
  const bool number_is_nan =
      is_number(left) && is_number(right) && (std::isnan(number_of(left)) || std::isnan(number_of(right)));
  if (number_is_nan) return false;
  const int order = compare(heap, left, right);
  switch (op) {
    case Operator::kLess: return order < 0;
    case Operator::kLessEqual: return order <= 0;
    case Operator::kGreater: return order > 0;
    default: return order >= 0;
  }
}

Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (!value.is<Text>() && !value.is<List*>()) refuse(fmt::format("{} cannot be sliced", type_name(value)));
  const std::int64_t by = step.is<None>() ? 1 : require_integer(step, "the slice's step");
  if (by == 0) refuse("the slice's step is 0");
  const auto count = static_cast<std::int64_t>(length(heap, value));
  const std::int64_t lowest = by > 0 ? 0 : -1;
  const std::int64_t highest = by > 0 ? count : count - 1;
  const auto bound = [&](const Value& given, std::int64_t absent) {
    if (given.is<None>()) return absent;
    const std::int64_t at = require_integer(given, "the slice's bound");
    return std::clamp(at < 0 ? std::max(at, -count - 1) + count : at, lowest, highest);
  };
  const std::int64_t first = bound(start, by > 0 ? lowest : highest);
  const std::int64_t end = bound(stop, by > 0 ? highest : lowest);
  heap.step(static_cast<std::size_t>(count) / 4);
  std::vector<std::string_view> points;
  if (value.is<Text>()) points = code_points(value.text());
  std::string text;
  std::vector<Value> items;
  for (std::int64_t i = first; by > 0 ? i < end : i > end;) {
    const auto at = static_cast<std::size_t>(i);
    if (value.is<Text>()) {
      text += points[at];
    } else {
      items.push_back(value.as<List*>()->items[at]);
    }
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  return value.is<Text>() ? heap.text(std::move(text)) : heap.list(std::move(items), value.as<List*>()->kind);
}

}  // namespace jericho::jinja
