// Runs a chat template's syntax tree. Scopes are chained: a for-loop's body, a with-block and a macro's call open one,
// an if does not; what is set in a scope ends with it. A macro sees the scope it was defined in. Start at
// Interpreter::run().
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template_ast.h"

namespace jericho::jinja {

struct Scope {
  Scope* outer = nullptr;
  bool captured = false;  // a macro was defined within: it must outlive its block
  std::vector<std::pair<std::string_view, Value>> variables{};

  void set(std::string_view name, Value value);
  [[nodiscard]] const Value* find(std::string_view name) const;  // here or further out
};

class Interpreter {
 public:
  Interpreter(Heap& heap, const std::tm& now) : heap_(heap), now_(now) {}
  void define(std::string_view name, Value value) { root_.set(name, std::move(value)); }
  std::string run(const Program& program);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Depth;
  class OpenScope;

  Flow run_body(const Body& body);
  Flow run_statement(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  void run_set(const Statement& statement);
  void run_set_block(const Statement& statement);
  void run_macro_definition(const Statement& statement);
  void assign(const Statement& statement, const Value& value);
  std::string capture(const Body& body);
  void write(std::string_view text);

  Value evaluate(const Expression& expression);
  Value evaluate_kind(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_collection(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concatenation(const Expression& expression);
  Value call_macro(Object& object, const Arguments& arguments);
  Value call_object(Object& object, const Arguments& arguments);
  Arguments evaluate_arguments(const Expression& expression);

  Heap& heap_;
  const std::tm& now_;
  Scope root_{};
  Scope* scope_ = &root_;
  std::string* out_ = nullptr;
  std::size_t written_ = 0;  // in all buffers that are open
  Value body_text_{};        // what a block's filter is applied to
  int depth_ = 0;
  std::vector<std::unique_ptr<Scope>> captured_{};
};

// left op right for arithmetic; a comparison of two values.
Value binary(Heap& heap, Operator op, const Value& left, const Value& right);
bool compares(Heap& heap, Operator op, const Value& left, const Value& right);
Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step);  // none: absent

}  // namespace jericho::jinja
