// The pool's free list and counts; see page_pool.h. A page costs memory from its first use on: the arena is filled in
// ascending order, and pages that come back are reused before untouched ones, so used bytes are the most pages ever
// held at once.
#include "memory/page_pool.h"

#include <cstring>
#include <limits>
#include <utility>

#include "base/check.h"

namespace jericho {

PagePool::PagePool(Arena arena, Bytes page_bytes, NullPage null)
    : arena_(std::move(arena)), page_bytes_(page_bytes), first_(null == NullPage::kReadable ? 0 : 1) {
  JERICHO_CHECK(page_bytes.count > 0 && page_bytes.count % 64 == 0, "pages of {} B", page_bytes.count);
  const std::int64_t pages = arena_.size().count / page_bytes.count;
  JERICHO_CHECK(pages >= 1 && pages <= std::numeric_limits<PageId>::max(), "{} pages", pages);
  records_.resize(static_cast<std::size_t>(pages) + first_);
  end_ = static_cast<PageId>(records_.size());
  capacity_ = static_cast<Index>(records_.size()) - 1;
  records_[kNullPage].references = 1;
  free_.reserve(records_.size());
}

Bytes PagePool::meta_bytes(Index usable) {
  return {(usable + 1) * static_cast<Index>(sizeof(Record) + sizeof(PageId))};
}

std::byte* PagePool::data(PageId id) const {
  JERICHO_DCHECK(id >= first_ && id < records_.size(), "page {} of {}", id, records_.size());
  return arena_.bytes().data() + (id - first_) * page_bytes_.size();
}

std::optional<PageId> PagePool::take() {
  PageId id = kNullPage;
  zeroed_ = free_.empty();
  if (!zeroed_) {
    id = free_.back();
    free_.pop_back();
  } else if (untouched_ < end_) {
    id = untouched_++;
    arena_.commit((id - first_) * page_bytes_, page_bytes_);
  } else {
    return std::nullopt;
  }
  records_[id].references = 1;
  ++records_[id].generation;
  ++in_use_;
  return id;
}

std::optional<PageId> PagePool::allocate() {
  const std::optional<PageId> id = take();
  if (id && !zeroed_) std::memset(data(*id), 0, page_bytes_.size());
  return id;
}

void PagePool::retain(PageId id) {
  JERICHO_CHECK(id != kNullPage && id < records_.size() && records_[id].references > 0, "retain of free page {}", id);
  JERICHO_CHECK(records_[id].references < std::numeric_limits<std::uint32_t>::max(), "page {} has too many owners", id);
  ++records_[id].references;
}

void PagePool::release(PageId id) {
  JERICHO_CHECK(id != kNullPage && id < records_.size() && records_[id].references > 0, "release of free page {}", id);
  if (--records_[id].references > 0) return;
  free_.push_back(id);
  --in_use_;
}

void PagePool::retire_range(PageId first, PageId end, bool backed) {
  const Bytes begin = round_up((first - first_) * page_bytes_, kPageSize);
  const Bytes stop = (end - first_) * page_bytes_;
  const Bytes length{(stop - begin).count / kPageSize.count * kPageSize.count};
  if (length > Bytes{}) arena_.retire(begin, length, backed ? length : Bytes{});
}

Index PagePool::retire(Index pages) {
  const Index fresh = std::min<Index>(pages, end_ - untouched_);
  if (fresh > 0) {
    retire_range(end_ - static_cast<PageId>(fresh), end_, false);
    end_ -= static_cast<PageId>(fresh);
  }
  Index used = 0;
  for (; used < pages - fresh && !free_.empty(); ++used) {
    retire_range(free_.back(), free_.back() + 1, true);
    free_.pop_back();
  }
  capacity_ -= fresh + used;
  return fresh + used;
}

std::optional<PageId> PagePool::own(PageId id) {
  JERICHO_CHECK(id != kNullPage && id < records_.size() && records_[id].references > 0, "own of free page {}", id);
  if (records_[id].references == 1) return id;
  const std::optional<PageId> copy = take();
  if (!copy) return std::nullopt;
  std::memcpy(data(*copy), data(id), page_bytes_.size());
  --records_[id].references;
  return copy;
}

}  // namespace jericho
