// Asynchronous reads and writes behind one small interface, so that streaming, spilling and their fault tests share one
// path: a fault that is injected by preloading a library would not be seen by io_uring. Start at IoBackend. Backends:
// io_uring.cc (one ring, no threads), io_threads.cc (blocking calls on a few threads), io_scripted.cc (faults).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace jericho {

enum class IoOp : std::uint8_t { kRead, kWrite };

// The buffer stays valid and untouched until the result arrived. With O_DIRECT, buffer, offset and size are aligned as
// File::alignment() says.
struct IoRequest {
  int fd = -1;
  IoOp op = IoOp::kRead;
  std::int64_t offset = 0;
  std::span<std::byte> buffer{};  // not empty
  std::uint64_t tag = 0;          // comes back in the result
};

// As read(2) and write(2): fewer bytes than asked are no error, 0 at the end of a file; -errno on failure.
struct IoResult {
  std::uint64_t tag = 0;
  std::int64_t transferred = 0;
};

enum class IoWait {
  kNone,    // only what is complete
  kForOne,  // for the first completion, but at most kIoWaitLimit, so that the caller can look at its stop token
};
inline constexpr std::chrono::milliseconds kIoWaitLimit{50};

// One thread uses a backend object. The destructor waits until no request is in flight.
class IoBackend {
 public:
  static constexpr std::size_t kDepth = 64;  // requests in flight at most

  IoBackend() = default;
  IoBackend(const IoBackend&) = delete;
  IoBackend& operator=(const IoBackend&) = delete;
  virtual ~IoBackend() = default;

  // Starts a request; in_flight() < kDepth. Never blocks on the disk. Failures come as results.
  virtual void submit(const IoRequest& request) = 0;
  // Fills `results` from the front, in any order, and returns how many. 0 at once when nothing is in flight.
  virtual std::size_t poll(std::span<IoResult> results, IoWait wait) = 0;
  [[nodiscard]] virtual std::size_t in_flight() const = 0;  // submitted and not yet polled
  [[nodiscard]] virtual std::string_view name() const = 0;
};

enum class IoChoice { kBest, kUring, kThreads };

// kBest takes io_uring where the kernel allows it, else threads. Throws Error(kUnsupported) when kUring is not to be
// had.
std::unique_ptr<IoBackend> make_io_backend(IoChoice choice = IoChoice::kBest);

// What one backend takes, for a lease of purpose io.ring: rings, queues and the touched part of stacks.
Bytes io_backend_bytes(IoChoice choice = IoChoice::kBest);

// The rungs of the ladder. make_uring_backend() returns null when the kernel has no io_uring or forbids it.
std::unique_ptr<IoBackend> make_uring_backend();
std::unique_ptr<IoBackend> make_thread_backend(int threads = 4);

// What ScriptedIo does to a request.
enum class IoFault {
  kEio,
  kEnospc,
  kEintr,
  kEagain,
  kShortByOne,  // one byte less than was transferred; what a read reports as missing is overwritten with garbage
  kHalf,        // half of it
  kEnd,         // 0 bytes, as at the end of a file
  kFlipBit,     // one bit of a read is wrong
  kDelay,       // the result comes IoScript::delay late
  kReorder,     // the result comes after a later one
};

struct IoScript {
  std::int64_t every = 3;          // each every-th request suffers the next fault, around and around
  std::int64_t at_most = 1 << 30;  // faults in total
  std::vector<IoFault> faults{};
  std::chrono::milliseconds delay{20};
  std::optional<IoOp> only{};  // requests of this kind are counted and suffer; else all
};

// Passes requests on to `inner` and spoils some of them.
std::unique_ptr<IoBackend> make_scripted_backend(std::unique_ptr<IoBackend> inner, IoScript script);

}  // namespace jericho
