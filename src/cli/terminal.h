// The terminal at standard input as a source of keys: raw mode while it is held (termios(3)), bracketed paste switched
// on, and everything put back when it is let go. Drawing goes to standard error, so that standard output holds answers
// alone.
#pragma once

#include <termios.h>

#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "cli/line_view.h"

namespace jericho::cli {

// Standard input and error are a terminal that understands escape sequences.
bool can_edit_lines();

// One thread, at most one at a time.
class Terminal {
 public:
  Terminal();  // Error(kIo)
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // What was typed, after waiting up to `milliseconds` for it: empty when nothing was, nothing when the terminal is
  // gone.
  std::optional<std::string> read(int milliseconds);
  void write(std::string_view text);
  [[nodiscard]] ScreenSize size() const;
  void suspend();  // stops the process as Ctrl-Z does; returns when it goes on

 private:
  void enter();
  void leave();

  termios cooked_{};
};

}  // namespace jericho::cli
