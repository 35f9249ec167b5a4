// Raw mode: see terminal.h.
#include "cli/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho::cli {

bool can_edit_lines() {
  const char* kind = std::getenv("TERM");
  const bool dumb = kind == nullptr || *kind == '\0' || std::strcmp(kind, "dumb") == 0;
  return !dumb && isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

Terminal::Terminal() {
  if (tcgetattr(STDIN_FILENO, &cooked_) != 0)
    throw Error(ErrorKind::kIo, fmt::format("the terminal's settings cannot be read: {}", std::strerror(errno)));
  enter();
}

Terminal::~Terminal() { leave(); }

void Terminal::enter() {
  termios raw = cooked_;
  raw.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR | IXON | ISTRIP | BRKINT);
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | IEXTEN | ISIG);  // Ctrl-C and Ctrl-Z come as bytes
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  write("\x1b[?2004h");
}

void Terminal::leave() {
  write("\x1b[?2004l");
  tcsetattr(STDIN_FILENO, TCSADRAIN, &cooked_);
}

void Terminal::suspend() {
  leave();
  kill(getpid(), SIGTSTP);
  enter();
}

std::optional<std::string> Terminal::read(int milliseconds) {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, milliseconds) <= 0) return "";
  std::array<char, 65536> buffer{};
  const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return "";
  if (got <= 0) return std::nullopt;
  return std::string(buffer.data(), static_cast<std::size_t>(got));
}

void Terminal::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;  // a terminal that is gone shows nothing; the next read tells
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

ScreenSize Terminal::size() const {
  winsize window{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) return {};
  return {window.ws_col, window.ws_row};
}

}  // namespace jericho::cli
