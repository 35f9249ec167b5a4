// Statements, scopes and limits. Start at run_statement().
#include "text/template_interpreter.h"

#include <algorithm>

#include <fmt/format.h>

namespace jericho::jinja {

void Scope::set(std::string_view name, Value value) {
  for (auto& [each, old] : variables) {
    if (each == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer) {
    for (const auto& [each, value] : scope->variables) {
      if (each == name) return &value;
    }
  }
  return nullptr;
}

class Interpreter::OpenScope {
 public:
  explicit OpenScope(Interpreter& interpreter, Scope* outer) : interpreter_(interpreter), before_(interpreter.scope_) {
    scope_->outer = outer;
    interpreter_.scope_ = scope_.get();
  }
  ~OpenScope() {
    interpreter_.scope_ = before_;
    if (scope_->captured) interpreter_.captured_.push_back(std::move(scope_));
  }
  OpenScope(const OpenScope&) = delete;
  OpenScope& operator=(const OpenScope&) = delete;
  Scope& operator*() { return *scope_; }

 private:
  Interpreter& interpreter_;
  Scope* before_;
  std::unique_ptr<Scope> scope_ = std::make_unique<Scope>();
};

std::string Interpreter::run(const Program& program) {
  std::string out;
  out_ = &out;
  run_body(program.body);
  return out;
}

void Interpreter::write(std::string_view text) {
  heap_.step(text.size() / 64);
  written_ += text.size();
  if (written_ > heap_.limits().output.size()) {
    refuse(fmt::format("writes more than {}", format_bytes(heap_.limits().output)));
  }
  *out_ += text;
}

std::string Interpreter::capture(const Body& body) {
  std::string text;
  std::string* before = std::exchange(out_, &text);
  try {
    run_body(body);
  } catch (...) {
    out_ = before;
    throw;
  }
  out_ = before;
  written_ -= text.size();
  return text;
}

Interpreter::Flow Interpreter::run_body(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = run_statement(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement) {
  try {
    heap_.step();
    switch (statement.kind) {
      case StatementKind::kText: write(statement.text); break;
      case StatementKind::kOutput: write(to_text(heap_, evaluate(*statement.value))); break;
      case StatementKind::kIf: return run_if(statement);
      case StatementKind::kFor: return run_for(statement);
      case StatementKind::kSet: run_set(statement); break;
      case StatementKind::kSetBlock: run_set_block(statement); break;
      case StatementKind::kMacro: run_macro_definition(statement); break;
      case StatementKind::kScope: return run_body(statement.body);
      case StatementKind::kBreak: return Flow::kBreak;
      case StatementKind::kContinue: return Flow::kContinue;
      case StatementKind::kFilter:
        body_text_ = heap_.text(capture(statement.body));
        write(to_text(heap_, evaluate(*statement.value)));
        break;
      case StatementKind::kWith: {
        std::vector<Value> values;  // all are evaluated outside
        for (const auto& assignment : statement.assignments) values.push_back(evaluate(*assignment.second));
        OpenScope scope(*this, scope_);
        for (std::size_t i = 0; i < values.size(); ++i) (*scope).set(statement.assignments[i].first, values[i]);
        return run_body(statement.body);
      }
    }
    return Flow::kNext;
  } catch (const Fault& fault) {
    fail_at(statement.place, fault.kind, fault.message);
  }
}

Interpreter::Flow Interpreter::run_if(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (truth(evaluate(*branch.condition))) return run_body(branch.body);
  }
  return run_body(statement.otherwise);
}

Interpreter::Flow Interpreter::run_for(const Statement& statement) {
  std::vector<Value> items = iterate(heap_, evaluate(*statement.value));
  if (statement.condition) {
    std::vector<Value> kept;
    for (const Value& each : items) {
      OpenScope scope(*this, scope_);
      assign(statement, each);
      if (truth(evaluate(*statement.condition))) kept.push_back(each);
    }
    items = std::move(kept);
  }
  if (items.empty()) return run_body(statement.otherwise);
  heap_.reserve(items.size() * sizeof(Value));
  const Value loop_value = heap_.object(ObjectKind::kLoop);
  Object& loop = *loop_value.as<Object*>();
  loop.items = std::move(items);
  const std::size_t count = loop.items.size();
  for (; loop.position < count; ++loop.position) {
    heap_.step();
    OpenScope scope(*this, scope_);
    (*scope).set("loop", loop_value);
    assign(statement, loop.items[loop.position]);
    if (run_body(statement.body) == Flow::kBreak) break;
  }
  loop.position = std::min(loop.position, count - 1);
  return Flow::kNext;
}

// To the targets of a for or set, in the current scope.
void Interpreter::assign(const Statement& statement, const Value& value) {
  heap_.step(scope_->variables.size() / 4);
  if (!statement.unpacks) return scope_->set(statement.targets[0], value);
  const std::vector<Value> parts = iterate(heap_, value);
  if (parts.size() != statement.targets.size()) {
    refuse(fmt::format("expected {} values to unpack, found {}", statement.targets.size(), parts.size()));
  }
  for (std::size_t i = 0; i < parts.size(); ++i) scope_->set(statement.targets[i], parts[i]);
}

void Interpreter::run_set(const Statement& statement) {
  const Value value = evaluate(*statement.value);
  if (statement.attribute.empty()) return assign(statement, value);
  const Value* target = scope_->find(statement.text);
  if (target == nullptr || !target->is<Object*>() || target->as<Object*>()->kind != ObjectKind::kNamespace) {
    refuse(fmt::format("'{}' is no namespace: its attributes cannot be set", statement.text));
  }
  Dict& attributes = target->as<Object*>()->attributes;
  if (Value* old = attributes.find(heap_, statement.attribute)) {
    *old = value;
  } else {
    attributes.set(heap_, heap_.text(statement.attribute), value);
  }
}

void Interpreter::run_set_block(const Statement& statement) {
  Value text = heap_.text(capture(statement.body));
  if (statement.value) {
    body_text_ = std::move(text);
    text = evaluate(*statement.value);
  }
  if (statement.attribute.empty()) return scope_->set(statement.targets[0], std::move(text));
  unsupported("a set block of an attribute is not supported");
}

void Interpreter::run_macro_definition(const Statement& statement) {
  Value made = heap_.object(ObjectKind::kMacro, statement.text);
  made.as<Object*>()->macro = &statement;
  made.as<Object*>()->closure = scope_;
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->outer) {
    heap_.reserve(scope == &root_ ? 0 : sizeof(Scope) + scope->variables.size() * sizeof(Value));
    scope->captured = true;
  }
  scope_->set(statement.text, made);
}

Value Interpreter::call_macro(Object& object, const Arguments& arguments) {
  const auto& parameters = object.macro->assignments;
  if (arguments.positional.size() > parameters.size()) {
    refuse(fmt::format("takes at most {} arguments, was given {}", parameters.size(), arguments.positional.size()));
  }
  OpenScope scope(*this, object.closure);
  std::vector<bool> given(parameters.size(), false);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    (*scope).set(parameters[i].first, arguments.positional[i]);
    given[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    const auto same = [&, wanted = name](const auto& parameter) { return parameter.first == wanted; };
    const auto found = std::find_if(parameters.begin(), parameters.end(), same);
    const auto i = static_cast<std::size_t>(found - parameters.begin());
    if (found == parameters.end()) refuse(fmt::format("takes no argument '{}'", name));
    if (given[i]) refuse(fmt::format("was given argument '{}' twice", name));
    (*scope).set(found->first, value);
    given[i] = true;
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (given[i]) continue;
    const auto& [name, fallback] = parameters[i];
    (*scope).set(name, fallback ? evaluate(*fallback) : Value{Undefined{name}});
  }
  return heap_.text(capture(object.macro->body));
}

}  // namespace jericho::jinja
