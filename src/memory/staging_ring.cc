// Wrapping around: see staging_ring.h.
#include "memory/staging_ring.h"

#include "base/check.h"

namespace jericho {

std::optional<Bytes> StagingRing::take(Bytes size) {
  JERICHO_CHECK(size <= capacity_, "{} B in a ring of {}", size.count, capacity_.count);
  if (taken_.empty()) next_ = used_ = {};
  const Bytes at_end = capacity_ - next_;
  const bool at_front = size > at_end;
  const Bytes left = at_front ? at_end : 0_B;
  if (used_ + left + size > capacity_) return std::nullopt;
  const Bytes place = at_front ? 0_B : next_;
  next_ = place + size;
  used_ += left + size;
  taken_.push_back(left + size);
  return place;
}

void StagingRing::release() {
  JERICHO_CHECK(!taken_.empty(), "nothing is taken");
  used_ -= taken_.front();
  taken_.pop_front();
}

void StagingRing::clear() {
  taken_.clear();
  next_ = used_ = {};
}

}  // namespace jericho
