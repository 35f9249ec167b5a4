// The one pool of threads. Ops cut work into parts whose results do not depend on how many threads run them; run()
// spreads the parts over the workers and the calling thread, and returns when all are done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/index.h"

namespace jericho {

// run() is for one thread at a time; bodies run concurrently and may not call run() themselves.
class ThreadPool {
 public:
  // `threads` counts the caller: a pool of 1 starts none. Workers flush subnormals and have 512 KiB stacks.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return threads_; }

  // Calls body(part, worker) once for each part in [0, parts). Parts are handed out in ascending order, one at a time.
  // `worker` in [0, threads()) tells which scratch a body may use. The first exception of a body is thrown here, after
  // all running bodies have ended; parts not yet begun are dropped.
  void run(Index parts, const std::function<void(Index part, int worker)>& body);

 private:
  void serve(int worker);
  void take_parts(const std::function<void(Index, int)>& body, int worker);

  int threads_;
  std::vector<std::thread> workers_;  // std::jthread cannot take attributes either; joined in the destructor
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(Index, int)>* body_ = nullptr;  // null between runs: no worker may join
  Index parts_ = 0;
  std::atomic<Index> next_{0};
  std::atomic<std::uint64_t> generation_{0};  // rises with every run() that uses the workers
  std::atomic<int> joined_{0};  // workers inside the present run; a worker that wakes too late never joins
  std::exception_ptr failure_;
  bool stopping_ = false;
};

// Splits [0, count) into ranges of `grain` and calls body(begin, end, worker) for each. The ranges do not depend on the
// number of threads.
void parallel_for(ThreadPool& pool, Index count, Index grain,
                  const std::function<void(Index begin, Index end, int worker)>& body);

}  // namespace jericho
