// The one pool of threads. Ops cut work into parts whose results do not depend on how many threads run them; run()
// spreads the parts over the workers and the calling thread, and returns when all are done.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"
#include "base/index.h"

namespace jericho {

// run() is for one thread at a time; bodies run concurrently and may not call run() themselves.
class ThreadPool {
 public:
  using Body = FunctionRef<void(Index part, int worker)>;

  // `threads` counts the caller: a pool of 1 starts none. Workers flush subnormals and have 512 KiB stacks. Throws
  // Error(kIo) when the system refuses one of them; then none is left.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return threads_; }

  // Calls body(part, worker) once for each part in [0, parts). Parts are handed out in ascending order, one at a time.
  // `worker` in [0, threads()) tells which scratch a body may use. The first exception of a body is thrown here, after
  // all running bodies have ended; parts not yet begun are dropped.
  void run(Index parts, Body body);

 private:
  struct Work {
    const Body* body = nullptr;
    Index parts = 0;
  };
  class Spin;

  void serve(int worker);
  void take_parts(Work work, int worker);
  void leave();
  void stop();

  int threads_;
  bool spins_;                        // looks again for a moment before it goes to sleep
  std::vector<std::thread> workers_;  // std::jthread cannot take attributes either; joined by stop()
  // Written by run() while no worker is inside, read by those who joined: ordered by state_.
  alignas(64) Work work_{};
  // Workers inside the present run, whether it is open to more, and how many runs there were: see thread_pool.cc.
  std::atomic<std::uint32_t> state_{0};
  alignas(64) std::atomic<Index> next_{0};                 // the part to be handed out
  alignas(64) std::atomic<std::uint32_t> left_closed_{0};  // rises when the last worker leaves a closed run
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

// Splits [0, count) into ranges of `grain` and calls body(begin, end, worker) for each. The ranges do not depend on the
// number of threads.
void parallel_for(ThreadPool& pool, Index count, Index grain,
                  FunctionRef<void(Index begin, Index end, int worker)> body);

}  // namespace jericho
