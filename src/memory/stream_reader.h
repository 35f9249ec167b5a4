// Reads a known list of byte ranges in order, ahead of their use, through a ring of staging slots: what streams the
// weights that are not resident, once per token (docs/memory.md#streaming). Start at enqueue() and next(). A loop over
// all weights defeats every cache smaller than they are, so nothing is cached here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/range_reader.h"

namespace jericho {

struct StreamOptions {
  Bytes slot_bytes{};  // from StreamReader::slot_bytes(): room for the largest range
};

// One thread. No one else may use the backend while a reader lives; its destructor waits for what is in flight.
class StreamReader {
 public:
  // Staging that holds `slots` ranges of up to `largest_range` bytes: at least 2, one in use and one being read.
  static Bytes slot_bytes(Bytes largest_range);
  static Bytes staging_bytes(Bytes largest_range, int slots);

  // `staging` starts on a multiple of 4096 and holds at least one slot; with one slot, nothing is read ahead.
  StreamReader(IoBackend& io, std::span<std::byte> staging, StreamOptions options);
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // Adds a range to the end of the list; costs one small record. `file` outlives its delivery.
  void enqueue(const File& file, std::int64_t offset, Bytes length);

  // The bytes of the next range, valid until the following call. Waits for them, and meanwhile keeps the ring full.
  // Throws Error(kInput) when the file ends before the range does, Error(kIo) when it cannot be read,
  // Error(kInterrupted) on a stop request. After the first two the range counts as delivered; after a stop it is still
  // next.
  std::span<const std::byte> next(const std::stop_token& stop = {});

  // Starts what has slots without waiting, as next() also does: for the time between enqueue() and the first next().
  void prefetch();

  [[nodiscard]] Index pending() const { return static_cast<Index>(ranges_.size()); }  // enqueued and not delivered

 private:
  struct Range {
    const File* file = nullptr;
    std::int64_t offset = 0;
    Bytes length{};
  };
  static std::int64_t needed(const Range& range);
  void start(const Range& range, std::size_t slot);
  std::span<std::byte> slot_span(std::size_t slot) const;

  RangeReader reader_;
  std::span<std::byte> staging_;
  Bytes slot_bytes_;
  std::vector<RangeReader::Ticket> slots_;  // what is read into each
  std::deque<Range> ranges_;                // those of slots in use or being read come first
  std::size_t first_slot_ = 0;              // of ranges_.front(), once started
  std::size_t started_ = 0;                 // how many of ranges_ have slots
  bool holding_ = false;                    // the slot before first_slot_ is in the caller's hands
};

}  // namespace jericho
