// A thread that waits for signals, since little may be done inside a handler (signal-safety(7)).
#include "cli/interrupts.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>

namespace jericho::cli {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

constexpr int kInterruptedCode = 130;
constexpr timespec kPoll = {0, 100'000'000};  // how long the end of the program may wait for this thread

}  // namespace

Interrupts::Interrupts() {
  const sigset_t set = stop_signals();
  sigset_t blocked = set;
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  waiter_ = std::jthread([this, set](const std::stop_token& ending) {
    while (!ending.stop_requested()) {
      if (sigtimedwait(&set, nullptr, &kPoll) < 0) continue;
      if (source_.stop_requested()) _exit(kInterruptedCode);
      source_.request_stop();
    }
  });
}

}  // namespace jericho::cli
