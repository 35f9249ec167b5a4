// A pool whose runs cost a few cache misses: a token is a hundred of them. Between two runs workers spin for a moment,
// then sleep: idle means idle. That a moment of about the price of sleeping is right whatever comes is Karlin, Li,
// Manasse & Owicki 1991, "Empirical studies of competitive spinning for a shared-memory multiprocessor".
//
// Everything turns on one word, state_. run() opens it, which lets workers join; a worker joins by counting itself in,
// takes parts until there are none and counts itself out; run() closes the word when the parts are gone and waits for
// the count to reach 0. A worker that comes late finds the word closed and never touches the run, so nobody waits for a
// thread that the system has not scheduled, unless it holds a part. No lock is taken but around an exception.
#include "base/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/cpu.h"
#include "base/error.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;
constexpr Clock::duration kSpinTime = std::chrono::microseconds{50};  // longer than the gap between two ops
constexpr int kPausesPerLook = 16;  // at the clock: a pause takes 10 cycles on one processor and 140 on another

#ifdef __SANITIZE_THREAD__
constexpr std::size_t kStackBytes = std::size_t{8} << 20;  // the sanitizer's thread-local data alone exceed 512 KiB
#else
constexpr std::size_t kStackBytes = std::size_t{512} << 10;
#endif

// state_: the number of workers inside, two flags, and the number of the run, which may wrap around: a worker that
// slept through all of them joins a run as good as any, or misses one, which it always may.
constexpr std::uint32_t kInside = (1u << 12) - 1;
constexpr std::uint32_t kOpen = 1u << 12;
constexpr std::uint32_t kStopping = 1u << 13;
constexpr std::uint32_t kRun = 1u << 14;
constexpr int kMostThreads = 1 << 12;

std::uint32_t run_number(std::uint32_t state) { return state / kRun; }

int cores_of_this_process() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

// Threads that start while this lives, whoever starts them, have stacks of that size: std::thread offers none, and 512
// KiB instead of the default 8 MiB keeps the books honest (docs/memory.md).
class StackSizeOfNewThreads {
 public:
  explicit StackSizeOfNewThreads(std::size_t bytes) {
    pthread_getattr_default_np(&attributes_);
    pthread_attr_getstacksize(&attributes_, &before_);
    set(bytes);
  }
  ~StackSizeOfNewThreads() {
    set(before_);
    pthread_attr_destroy(&attributes_);
  }
  StackSizeOfNewThreads(const StackSizeOfNewThreads&) = delete;
  StackSizeOfNewThreads& operator=(const StackSizeOfNewThreads&) = delete;

 private:
  void set(std::size_t bytes) {
    pthread_attr_setstacksize(&attributes_, bytes);
    pthread_setattr_default_np(&attributes_);
  }

  pthread_attr_t attributes_{};
  std::size_t before_ = 0;
};

}  // namespace

// Whether it is time to sleep. The clock is asked seldom, and first after as many pauses.
class ThreadPool::Spin {
 public:
  explicit Spin(const ThreadPool& pool) : spins_(pool.spins_) {}

  // One pause, unless the time is over.
  bool pause() {
    if (!spins_) return false;
    if (++pauses_ % kPausesPerLook == 0) {
      const Clock::time_point now = Clock::now();
      if (pauses_ == kPausesPerLook) end_ = now + kSpinTime;
      if (now >= end_) return false;
    }
    _mm_pause();
    return true;
  }
  void restart() { pauses_ = 0; }

 private:
  bool spins_;
  int pauses_ = 0;
  Clock::time_point end_{};
};

ThreadPool::ThreadPool(int threads)
    : threads_(threads),
      // With more threads than cores to run on, a spinning thread keeps a core from the one it waits for.
      spins_(threads <= cores_of_this_process()) {
  JERICHO_CHECK(threads >= 1 && threads < kMostThreads, "threads {}", threads);
  flush_subnormals();
  const StackSizeOfNewThreads small(kStackBytes);
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
  } catch (const std::system_error& error) {
    const std::size_t started = workers_.size() + 1;
    stop();
    throw Error(ErrorKind::kIo, "thread " + std::to_string(started + 1) + " of " + std::to_string(threads) +
                                    " could not be started (" + error.code().message() +
                                    "): ask for fewer with -t, or raise the limits of this process (ulimit -u, -v)");
  } catch (...) {  // no memory for what a thread needs before it starts
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  state_.fetch_or(kStopping);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Index parts, Body body) {
  if (parts <= 0) return;
  if (threads_ == 1 || parts == 1) {
    for (Index part = 0; part < parts; ++part) body(part, 0);
    return;
  }
  work_ = {&body, parts};
  next_.store(0, std::memory_order_relaxed);
  const std::uint32_t before = state_.load(std::memory_order_relaxed);  // closed, nobody inside
  state_.store((run_number(before) + 1) * kRun | kOpen);                // publishes work_ and next_
  state_.notify_all();                                                  // a system call only where somebody sleeps
  take_parts(work_, 0);
  state_.fetch_and(~kOpen);
  // All parts are taken: only those who work on one are waited for.
  for (Spin spin(*this); (state_.load() & kInside) != 0 && spin.pause();) continue;
  while (true) {
    const std::uint32_t left = left_closed_.load();
    if ((state_.load() & kInside) == 0) break;
    left_closed_.wait(left);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_parts(Work work, int worker) {
  try {
    const auto take = [this] { return next_.fetch_add(1, std::memory_order_relaxed); };
    for (Index part = take(); part < work.parts; part = take()) (*work.body)(part, worker);
  } catch (...) {
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
    next_.store(work.parts, std::memory_order_relaxed);
  }
}

void ThreadPool::serve(int worker) {
  flush_subnormals();
  std::uint32_t seen = 0;  // the run that this worker joined last
  Spin spin(*this);
  while (true) {
    std::uint32_t state = state_.load();
    if ((state & kStopping) != 0) return;
    if ((state & kOpen) != 0 && run_number(state) != seen) {
      if (!state_.compare_exchange_weak(state, state + 1)) continue;
      seen = run_number(state);
      take_parts(work_, worker);
      leave();
      spin.restart();
    } else if (!spin.pause()) {
      state_.wait(state);  // returns at once if the word has changed since it was looked at
      spin.restart();
    }
  }
}

void ThreadPool::leave() {
  const std::uint32_t before = state_.fetch_sub(1);  // after this run() may return, and begin again
  if ((before & kInside) == 1 && (before & kOpen) == 0) {
    left_closed_.fetch_add(1);
    left_closed_.notify_one();
  }
}

void parallel_for(ThreadPool& pool, Index count, Index grain, FunctionRef<void(Index, Index, int)> body) {
  JERICHO_CHECK(grain >= 1, "grain {}", grain);
  pool.run(ceil_div(count, grain),
           [&](Index part, int worker) { body(part * grain, std::min(count, (part + 1) * grain), worker); });
}

}  // namespace jericho
