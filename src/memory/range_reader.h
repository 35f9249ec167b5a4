// Reads ranges of files into memory that the caller gives, many at a time and without waiting, and mends what can be
// mended: short reads go on, interrupted ones are repeated, EIO is tried once more.
// Start at start() and wait().
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/index.h"
#include "memory/file.h"
#include "memory/io.h"

namespace jericho {

// One thread. No one else may use the backend while a reader lives; its destructor waits for what is in flight.
class RangeReader {
 public:
  static constexpr Bytes kRequest{1 << 20};  // larger ranges are read as several requests at once
  static constexpr std::int64_t kBlock =
      4096;  // what a range begins and ends on; at least File::alignment() of every file

  using Ticket = std::size_t;  // of a range that was started, until it failed or end()

  explicit RangeReader(IoBackend& io) : io_(io) {}
  ~RangeReader() { drain(); }
  RangeReader(const RangeReader&) = delete;
  RangeReader& operator=(const RangeReader&) = delete;

  // Begins to read whole blocks from `offset` into `buffer`, of which the first `needed` bytes must arrive: the rest
  // may lie beyond the end of the file. Never blocks; `file` and `buffer` stay until the end.
  Ticket start(const File& file, std::int64_t offset, std::span<std::byte> buffer, std::int64_t needed);
  // Until the first `bytes` of the range are there. Throws Error(kInput) when the file ends before what is needed,
  // Error(kIo) when it cannot be read: nothing of the range is in flight then and its ticket is gone.
  // Error(kInterrupted) on a stop request changes nothing.
  void wait(Ticket ticket, std::int64_t bytes, const std::stop_token& stop = {});
  // Waits for all of a range that may have failed, and forgets it.
  void end(Ticket ticket);

  void poll();  // takes what has come and starts what waits, at once
  [[nodiscard]] std::chrono::steady_clock::time_point last_arrival() const { return last_arrival_; }
  [[nodiscard]] bool idle() const { return waiting_.empty() && io_.in_flight() == 0; }  // as far as poll() has seen

 private:
  // One request, or what is left of it after a short read. The kernel may read less than `needed` only by mistake, but
  // less than `buffer`, which is rounded up, at every end of a file.
  struct Piece {
    std::int64_t offset = 0;
    std::span<std::byte> buffer{};
    std::int64_t needed = 0;
    Ticket range = 0;
    std::size_t number = 0;  // in its range
    int failures = 0;        // EIO so far
    int retries = 0;         // since the last progress
  };
  struct Range {
    const File* file = nullptr;
    std::size_t outstanding = 0;   // pieces not yet complete
    std::vector<bool> complete{};  // pieces
    std::size_t front = 0;         // pieces that are complete with all before them
    std::string failure{};         // empty while all is well
    ErrorKind failure_kind = ErrorKind::kIo;
  };

  void submit_pieces();
  void poll(IoWait wait);
  void complete(const IoResult& result);
  void finish(std::size_t piece);
  void fail(std::size_t piece, ErrorKind kind, std::string why);
  void drain();
  template <class T>
  static std::size_t take(std::vector<T>& all, std::vector<std::size_t>& free);

  IoBackend& io_;
  std::vector<Range> ranges_;             // by ticket
  std::vector<Ticket> free_ranges_;       // unused
  std::vector<Piece> pieces_;             // by tag
  std::vector<std::size_t> free_pieces_;  // unused
  std::deque<std::size_t> waiting_;       // tags to submit, in order
  std::chrono::steady_clock::time_point last_arrival_{};
};

}  // namespace jericho
