// Requests on a few threads that call pread(2) and pwrite(2): for kernels and containers without io_uring.
// Start at ThreadIo::serve(). The queues are arrays of fixed size, since no more than kDepth requests are ever in
// flight.
#include "memory/io.h"

#include <array>
#include <cerrno>
#include <condition_variable>
#include <mutex>

#include <pthread.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr std::size_t kStackBytes = std::size_t{512} << 10;  // the default 8 MiB would be address space for nothing

template <class T>
class FixedQueue {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  void push(const T& item) { items_[(begin_ + size_++) % items_.size()] = item; }
  T pop() {
    const T item = items_[begin_];
    begin_ = (begin_ + 1) % items_.size();
    --size_;
    return item;
  }

 private:
  std::array<T, IoBackend::kDepth> items_{};
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
};

class ThreadIo final : public IoBackend {
 public:
  explicit ThreadIo(int threads) {
    JERICHO_CHECK(threads >= 1 && threads <= 64, "threads {}", threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    for (int i = 0; i < threads; ++i) {
      pthread_t thread{};
      if (pthread_create(&thread, &attributes, &ThreadIo::entry, this) != 0) break;
      threads_.push_back(thread);
    }
    pthread_attr_destroy(&attributes);
    if (threads_.empty()) throw Error(ErrorKind::kIo, "no thread can be started for reading files; see ulimit -u");
  }

  ~ThreadIo() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);  // they finish the queue first
  }

  void submit(const IoRequest& request) override {
    JERICHO_CHECK(in_flight_ < kDepth && !request.buffer.empty(), "{} requests in flight, {} B", in_flight_,
                  request.buffer.size());
    ++in_flight_;
    {
      const std::lock_guard lock(mutex_);
      waiting_.push(request);
    }
    wake_.notify_one();
  }

  std::size_t poll(std::span<IoResult> results, IoWait wait) override {
    if (in_flight_ == 0 || results.empty()) return 0;
    std::unique_lock lock(mutex_);
    if (wait == IoWait::kForOne) done_.wait_for(lock, kIoWaitLimit, [this] { return !finished_.empty(); });
    std::size_t count = 0;
    while (count < results.size() && !finished_.empty()) results[count++] = finished_.pop();
    in_flight_ -= count;
    return count;
  }

  [[nodiscard]] std::size_t in_flight() const override { return in_flight_; }
  [[nodiscard]] std::string_view name() const override { return "threads"; }

 private:
  static void* entry(void* self) {
    static_cast<ThreadIo*>(self)->serve();
    return nullptr;
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const IoRequest request = waiting_.pop();
      lock.unlock();
      const ssize_t moved = request.op == IoOp::kRead
                                ? pread(request.fd, request.buffer.data(), request.buffer.size(), request.offset)
                                : pwrite(request.fd, request.buffer.data(), request.buffer.size(), request.offset);
      const std::int64_t outcome = moved < 0 ? -errno : moved;
      lock.lock();
      finished_.push({request.tag, outcome});
      done_.notify_one();
    }
  }

  std::vector<pthread_t> threads_;
  std::size_t in_flight_ = 0;  // of the user's thread only
  std::mutex mutex_;           // guards all below
  std::condition_variable wake_;
  std::condition_variable done_;
  FixedQueue<IoRequest> waiting_;
  FixedQueue<IoResult> finished_;
  bool stopping_ = false;
};

}  // namespace

std::unique_ptr<IoBackend> make_thread_backend(int threads) { return std::make_unique<ThreadIo>(threads); }

}  // namespace jericho
