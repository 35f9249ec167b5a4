// Expressions. Every failure gets the place of the innermost expression it happened in. Start at evaluate_kind().
#include <algorithm>

#include <fmt/format.h>

#include "text/template_interpreter.h"

namespace jericho::jinja {

class Interpreter::Depth {
 public:
  explicit Depth(Interpreter& interpreter) : depth_(interpreter.depth_) {
    if (depth_ >= interpreter.heap_.limits().depth) {
      refuse(fmt::format("goes deeper than {} levels: does a macro call itself without end?",
                         interpreter.heap_.limits().depth));
    }
    ++depth_;
  }
  ~Depth() { --depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  int& depth_;
};

Value Interpreter::evaluate(const Expression& expression) {
  try {
    heap_.step();
    const Depth depth(*this);
    return evaluate_kind(expression);
  } catch (const Fault& fault) {
    const bool named = expression.kind == ExpressionKind::kFilter || expression.kind == ExpressionKind::kTest;
    fail_at(expression.place, fault.kind,
            named ? fmt::format("'{}': {}", expression.name, fault.message) : fault.message);
  }
}

Value Interpreter::evaluate_kind(const Expression& expression) {
  const auto child = [&](std::size_t i) { return evaluate(*expression.children[i]); };
  switch (expression.kind) {
    case ExpressionKind::kLiteral: return expression.literal;
    case ExpressionKind::kBody: return body_text_;
    case ExpressionKind::kName: return evaluate_name(expression);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
    case ExpressionKind::kDict: return evaluate_collection(expression);
    case ExpressionKind::kAttribute: return attribute(heap_, child(0), expression.name);
    case ExpressionKind::kItem: {
      const Value container = child(0);
      return item(heap_, container, child(1));
    }
    case ExpressionKind::kSlice: return evaluate_slice(expression);
    case ExpressionKind::kCall: return evaluate_call(expression);
    case ExpressionKind::kFilter: {
      const Value value = child(0);
      return expression.filter(heap_, value, evaluate_arguments(expression));
    }
    case ExpressionKind::kTest: {
      const Value value = child(0);
      return {expression.test(heap_, value, evaluate_arguments(expression))};
    }
    case ExpressionKind::kNegative: return binary(heap_, Operator::kSubtract, {std::int64_t{0}}, child(0));
    case ExpressionKind::kPositive: return binary(heap_, Operator::kAdd, {std::int64_t{0}}, child(0));
    case ExpressionKind::kNot: return {!truth(child(0))};
    case ExpressionKind::kAnd: {
      Value left = child(0);
      return truth(left) ? child(1) : left;
    }
    case ExpressionKind::kOr: {
      Value left = child(0);
      return truth(left) ? left : child(1);
    }
    case ExpressionKind::kBinary: {
      const Value left = child(0);
      return binary(heap_, expression.operators[0], left, child(1));
    }
    case ExpressionKind::kCompare: return evaluate_compare(expression);
    case ExpressionKind::kConcatenate: return evaluate_concatenation(expression);
    case ExpressionKind::kConditional:
      if (truth(child(1))) return child(0);
      return expression.children[2] ? child(2) : Value{Undefined{"the other case of an inline if"}};
  }
  return {};
}

Value Interpreter::evaluate_name(const Expression& expression) {
  heap_.step(scope_->variables.size() / 8);
  if (const Value* found = scope_->find(expression.name)) return *found;
  if (is_global_function(expression.name)) return heap_.object(ObjectKind::kFunction, expression.name);
  return {Undefined{expression.name}};
}

Value Interpreter::evaluate_collection(const Expression& expression) {
  std::vector<Value> values;
  for (const auto& child : expression.children) values.push_back(evaluate(*child));
  if (expression.kind == ExpressionKind::kList) return heap_.list(std::move(values));
  if (expression.kind == ExpressionKind::kTuple) return heap_.list(std::move(values), ListKind::kTuple);
  Value made = heap_.dict();
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) made.as<Dict*>()->set(heap_, values[i], values[i + 1]);
  return made;
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value value = evaluate(*expression.children[0]);
  Value parts[3];
  for (std::size_t i = 0; i < 3; ++i) {
    parts[i] = expression.children[i + 1] ? evaluate(*expression.children[i + 1]) : none();
  }
  return slice(heap_, value, parts[0], parts[1], parts[2]);
}

Value Interpreter::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1]);
    if (!compares(heap_, expression.operators[i], left, right)) return {false};
    left = std::move(right);
  }
  return {true};
}

Value Interpreter::evaluate_concatenation(const Expression& expression) {
  std::string text;
  for (const auto& child : expression.children) {
    text += to_text(heap_, evaluate(*child));
    if (text.size() > heap_.limits().memory.size()) refuse("the text is too long");
  }
  return heap_.text(std::move(text));
}

Arguments Interpreter::evaluate_arguments(const Expression& expression) {
  Arguments arguments;
  for (std::size_t i = 1; i < expression.children.size(); ++i) {
    arguments.positional.push_back(evaluate(*expression.children[i]));
  }
  for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, evaluate(*value));
  return arguments;
}

namespace {

std::string callee_name(const Expression& callee) {
  return callee.kind == ExpressionKind::kName || callee.kind == ExpressionKind::kAttribute ? callee.name : "";
}

}  // namespace

Value Interpreter::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.children[0];
  const Value called = evaluate(callee);
  const std::string name = callee_name(callee);
  if (called.is<Undefined>()) {
    const char* what = callee.kind == ExpressionKind::kAttribute ? "method" : "function";
    fail_at(callee.place, ErrorKind::kUnsupported, fmt::format("unknown {} '{}'", what, name));
  }
  if (!called.is<Object*>()) refuse(fmt::format("'{}' is {} and cannot be called", name, type_name(called)));
  const Arguments arguments = evaluate_arguments(expression);
  try {
    return call_object(*called.as<Object*>(), arguments);
  } catch (const Fault& fault) {
    fail_at(callee.place, fault.kind, fmt::format("{}(): {}", name, fault.message));
  }
}

Value Interpreter::call_object(Object& object, const Arguments& arguments) {
  switch (object.kind) {
    case ObjectKind::kFunction: return call_global_function(heap_, object.name, arguments, now_);
    case ObjectKind::kMethod: return find_method(object.receiver, object.name)(heap_, object.receiver, arguments);
    case ObjectKind::kMacro: return call_macro(object, arguments);
    case ObjectKind::kCycler:
    case ObjectKind::kJoiner: return call_helper_object(heap_, object, arguments);
    case ObjectKind::kNamespace:
    case ObjectKind::kLoop: break;
  }
  refuse("cannot be called");
}

}  // namespace jericho::jinja
