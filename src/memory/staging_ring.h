// Places in a ring of staging memory: taken in one order, given back in the same, each in one piece. Start at take().
// Offsets only; the bytes are somebody's arena.
#pragma once

#include <deque>
#include <optional>

#include "base/bytes.h"

namespace jericho {

// Thread-compatible.
class StagingRing {
 public:
  explicit StagingRing(Bytes capacity) : capacity_(capacity) {}

  // What holds at once any run of places of `together` bytes in all, the largest of them `largest`: where a place would
  // reach beyond the end it begins at the front, and what is left at the end, less than one place, is lost until then.
  static Bytes capacity_for(Bytes together, Bytes largest) { return together + largest; }

  // Where the next `size` bytes may lie; nothing while they are not free. Larger than the capacity: a bug.
  std::optional<Bytes> take(Bytes size);
  void release();  // the oldest place
  void clear();

  [[nodiscard]] Bytes capacity() const { return capacity_; }
  [[nodiscard]] Bytes used() const { return used_; }  // with what was left at the end
  [[nodiscard]] bool empty() const { return taken_.empty(); }

 private:
  Bytes capacity_;
  Bytes next_{};
  Bytes used_{};
  std::deque<Bytes> taken_;  // sizes, with what was left before them
};

}  // namespace jericho
