// Ctrl-C and SIGTERM as a stop request: long work looks at the token and ends cleanly with code 130; the second one
// ends at once. SIGUSR1, which asks for memory, is left to who can give any (memory/pressure.h).
#pragma once

#include <stop_token>
#include <thread>

namespace jericho::cli {

// Make it before any other thread: it blocks the signals, and threads inherit that.
class Interrupts {
 public:
  Interrupts();
  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread waiter_;
};

}  // namespace jericho::cli
