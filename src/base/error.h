// Failures of what the user asked for: a bad file, a full disk, an unsupported model, a budget that is too small.
// Thrown as Error, with context added on the way up, caught only in main(), in a request handler and at a thread pool's
// task boundary. A broken precondition is a bug and belongs to check.h; an outcome the caller decides on is a value.
#pragma once

#include <stdexcept>
#include <string>

namespace jericho {

enum class ErrorKind {
  kInput,        // a file or text that is not what it should be
  kUsage,        // a flag or an option outside its range
  kBudget,       // does not fit the memory allowed
  kIo,           // the operating system refused
  kUnsupported,  // well-formed, but Jericho cannot do it
  kInterrupted,  // the user asked to stop
};

// A message names the object, what was expected, what was found and the remedy, in one sentence.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind), message_(message) {}
  [[nodiscard]] ErrorKind kind() const { return kind_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  void add_context(const std::string& where) { message_ = where + ": " + message_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

// 0 done, 1 failed, 2 wrong usage, 3 does not fit the budget, 130 interrupted.
constexpr int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage: return 2;
    case ErrorKind::kBudget: return 3;
    case ErrorKind::kInterrupted: return 130;
    default: return 1;
  }
}

// An Error that leaves `body` is prefixed by describe(), which runs only on that path.
template <class Describe, class Body>
decltype(auto) with_context(Describe describe, Body body) {
  try {
    return body();
  } catch (Error& error) {
    error.add_context(describe());
    throw;
  }
}

}  // namespace jericho
