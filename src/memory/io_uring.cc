// Requests through io_uring(7) with liburing 2.3: one system call to start a request, none to see that it is done.
// Start at UringIo::submit(). Plain reads and writes need Linux 5.6; nothing newer is used.
#include "memory/io.h"

#include <cerrno>
#include <cstring>

#include <liburing.h>

#include "base/check.h"

namespace jericho {
namespace {

class UringIo final : public IoBackend {
 public:
  // True when the ring works; otherwise the object may only be destroyed.
  bool open() {
    if (io_uring_queue_init(kDepth, &ring_, 0) != 0) return false;
    open_ = true;
    io_uring_probe* const probe = io_uring_get_probe_ring(&ring_);
    const bool complete = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0 &&
                          io_uring_opcode_supported(probe, IORING_OP_WRITE) != 0;
    if (probe != nullptr) io_uring_free_probe(probe);
    return complete;
  }

  ~UringIo() override {
    if (!open_) return;
    IoResult ignored[kDepth];
    while (in_flight_ > 0) poll(ignored, IoWait::kForOne);  // the kernel writes to the buffers until then
    io_uring_queue_exit(&ring_);
  }

  void submit(const IoRequest& request) override {
    JERICHO_CHECK(in_flight_ < kDepth && !request.buffer.empty(), "{} requests in flight, {} B", in_flight_,
                  request.buffer.size());
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);  // there is room: what is in flight fits the ring
    JERICHO_CHECK(entry != nullptr, "submission queue full at {}", in_flight_);
    const auto size = static_cast<unsigned>(request.buffer.size());
    const auto offset = static_cast<std::uint64_t>(request.offset);
    if (request.op == IoOp::kRead) {
      io_uring_prep_read(entry, request.fd, request.buffer.data(), size, offset);
    } else {
      io_uring_prep_write(entry, request.fd, request.buffer.data(), size, offset);
    }
    entry->user_data = request.tag;
    ++in_flight_;
    io_uring_submit(&ring_);  // what the kernel does not take now, poll() offers again
  }

  std::size_t poll(std::span<IoResult> results, IoWait wait) override {
    if (io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);
    std::size_t count = take(results);
    if (count > 0 || in_flight_ == 0 || wait == IoWait::kNone || results.empty()) return count;
    io_uring_cqe* completion = nullptr;
    __kernel_timespec limit{};
    limit.tv_nsec = std::chrono::nanoseconds(kIoWaitLimit).count();
    const int failed = io_uring_wait_cqe_timeout(&ring_, &completion, &limit);
    if (failed != 0 && failed != -ETIME && failed != -EINTR && failed != -EAGAIN) {
      JERICHO_CHECK(false, "io_uring: {}", std::strerror(-failed));
    }
    return take(results);
  }

  [[nodiscard]] std::size_t in_flight() const override { return in_flight_; }
  [[nodiscard]] std::string_view name() const override { return "io_uring"; }

 private:
  std::size_t take(std::span<IoResult> results) {
    std::size_t count = 0;
    io_uring_cqe* completion = nullptr;
    while (count < results.size() && io_uring_peek_cqe(&ring_, &completion) == 0) {
      if (completion->user_data != LIBURING_UDATA_TIMEOUT) {  // kernels before 5.11 wait by a timeout request
        results[count++] = {completion->user_data, completion->res};
        --in_flight_;
      }
      io_uring_cqe_seen(&ring_, completion);
    }
    return count;
  }

  io_uring ring_{};
  bool open_ = false;
  std::size_t in_flight_ = 0;
};

}  // namespace

std::unique_ptr<IoBackend> make_uring_backend() {
  auto backend = std::make_unique<UringIo>();
  if (!backend->open()) return nullptr;
  return backend;
}

}  // namespace jericho
