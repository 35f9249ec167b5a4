// The ladder of backends: see io.h.
#include "memory/io.h"

#include "base/error.h"

namespace jericho {

std::unique_ptr<IoBackend> make_io_backend(IoChoice choice) {
  if (choice != IoChoice::kThreads) {
    if (std::unique_ptr<IoBackend> uring = make_uring_backend()) return uring;
    if (choice == IoChoice::kUring) {
      throw Error(ErrorKind::kUnsupported,
                  "io_uring is not available: needs Linux 5.6 and kernel.io_uring_disabled=0; choose threads instead");
    }
  }
  return make_thread_backend();
}

Bytes io_backend_bytes(IoChoice choice) {
  constexpr Bytes kRings = 64_KiB;         // 64 submissions of 64 B, 128 completions of 16 B, and their pages
  constexpr Bytes kThreads = 4 * 256_KiB;  // of each 512 KiB stack, the part that is ever touched, rounded up
  return choice == IoChoice::kUring ? kRings : kRings + kThreads;  // kBest may end at threads
}

}  // namespace jericho
