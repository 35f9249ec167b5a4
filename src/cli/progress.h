// Progress on stderr: a bar on a terminal, a plain line now and then in a log, nothing for work that is over at once.
#pragma once

#include <chrono>
#include <string>

#include "base/index.h"

namespace jericho::cli {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();  // wipes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(Index done, Index total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point next_;
};

}  // namespace jericho::cli
