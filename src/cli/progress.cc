// Drawing progress: see progress.h.
#include "cli/progress.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

namespace jericho::cli {
namespace {

constexpr auto kQuietStart = std::chrono::milliseconds(300);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kLogInterval = std::chrono::seconds(5);
constexpr Index kBarWidth = 40;

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now() + kQuietStart) {
  if (!terminal_) next_ = Clock::now() + kLogInterval;
}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(Index done, Index total) {
  const auto now = Clock::now();
  if (total <= 0 || now < next_) return;
  const Index percent = done * 100 / total;
  if (!terminal_) {
    fmt::print(stderr, "{} {} %\n", what_, percent);
    next_ = now + kLogInterval;
    return;
  }
  const auto filled = static_cast<std::size_t>(done * kBarWidth / total);
  const std::string bar = std::string(filled, '=') + std::string(static_cast<std::size_t>(kBarWidth) - filled, ' ');
  fmt::print(stderr, "\r{} [{}] {:3} %", what_, bar, percent);
  std::fflush(stderr);
  drawn_ = true;
  next_ = now + kRedraw;
}

}  // namespace jericho::cli
