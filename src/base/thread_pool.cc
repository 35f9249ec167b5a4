// A pool that spins briefly for the next run, since one token is a few hundred of them, then sleeps: idle means idle.
#include "base/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>

#include <algorithm>

#include "base/check.h"
#include "base/cpu.h"

namespace jericho {
namespace {

constexpr int kSpins = 2000;  // about 50 microseconds of pause instructions: longer than the gap between two ops

#ifdef __SANITIZE_THREAD__
constexpr std::size_t kStackBytes = std::size_t{8} << 20;  // the sanitizer's thread-local data alone exceed 512 KiB
#else
constexpr std::size_t kStackBytes = std::size_t{512} << 10;
#endif

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  JERICHO_CHECK(threads >= 1, "threads {}", threads);
  flush_subnormals();
  // std::thread offers no stack size; 512 KiB instead of the default 8 MiB keeps the books honest (docs/memory.md).
  pthread_attr_t defaults;
  pthread_getattr_default_np(&defaults);
  pthread_attr_setstacksize(&defaults, kStackBytes);
  pthread_setattr_default_np(&defaults);
  pthread_attr_destroy(&defaults);
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Index parts, const std::function<void(Index, int)>& body) {
  if (parts <= 0) return;
  if (threads_ == 1 || parts == 1) {
    for (Index part = 0; part < parts; ++part) body(part, 0);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    parts_ = parts;
    next_.store(0);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  take_parts(body, 0);
  for (int spin = 0; spin < kSpins && joined_.load() != 0; ++spin) _mm_pause();
  std::unique_lock lock(mutex_);
  body_ = nullptr;  // all parts are taken: only those who work on one are waited for
  done_.wait(lock, [this] { return joined_.load() == 0; });
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_parts(const std::function<void(Index, int)>& body, int worker) {
  try {
    for (Index part = next_.fetch_add(1); part < parts_; part = next_.fetch_add(1)) body(part, worker);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    next_.store(parts_);
  }
}

void ThreadPool::serve(int worker) {
  flush_subnormals();
  std::uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && generation_.load() == seen; ++spin) _mm_pause();
    const std::function<void(Index, int)>* body = nullptr;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this, seen] { return generation_.load() != seen; });
      seen = generation_.load();
      if (stopping_) return;
      if (body_ == nullptr) continue;
      body = body_;  // run() forgets it once the parts are taken, while the last are still at work
      joined_.fetch_add(1);
    }
    take_parts(*body, worker);
    if (joined_.fetch_sub(1) == 1) {
      const std::lock_guard lock(mutex_);  // so that the waiter is either before its check or asleep
      done_.notify_one();
    }
  }
}

void parallel_for(ThreadPool& pool, Index count, Index grain, const std::function<void(Index, Index, int)>& body) {
  JERICHO_CHECK(grain >= 1, "grain {}", grain);
  pool.run(ceil_div(count, grain),
           [&](Index part, int worker) { body(part * grain, std::min(count, (part + 1) * grain), worker); });
}

}  // namespace jericho
