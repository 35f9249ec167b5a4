// Pages of one size in one arena, counted by reference: what KV blocks are kept in. Sharing and copy-on-write follow
// the block manager of vLLM (Kwon et al. 2023, "Efficient memory management for LLM serving with PagedAttention",
// sections 4.3-4.4). Differs: a page is zeroed when it is handed out, so that nothing of one sequence can ever be read
// by another. Start at allocate() and release(). Every operation is O(1), apart from zeroing or copying one page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "memory/arena.h"

namespace jericho {

using PageId = std::uint32_t;
inline constexpr PageId kNullPage = 0;  // never handed out, always zero: "not present" needs no branch when reading

// Whether the null page has bytes. Large pages that are always present do without.
enum class NullPage { kReadable, kAbsent };

// One thread at a time (the scheduler's). Reading data(id) from many threads is fine while their owner holds a
// reference.
class PagePool {
 public:
  // `page_bytes` is a multiple of 64; the arena is of pool_bytes(), one page of it the null page where there is one.
  PagePool(Arena arena, Bytes page_bytes, NullPage null = NullPage::kReadable);

  // What a pool of `usable` pages takes: of its arena, which is also what to lease, and of purpose kv.meta.
  static Bytes pool_bytes(Index usable, Bytes page_bytes, NullPage null = NullPage::kReadable) {
    return arena_bytes((usable + (null == NullPage::kReadable ? 1 : 0)) * page_bytes);
  }
  static Bytes meta_bytes(Index usable);

  // A zeroed page with one reference, or nothing when none is free.
  std::optional<PageId> allocate();
  void retain(PageId id);
  // Drops one reference; with the last one the page is free and its content gone.
  void release(PageId id);
  // A page with this content that only the caller refers to: `id` itself while unshared, else a copy that takes over
  // the caller's reference. Nothing, and nothing changed, when a copy is needed and no page is free.
  std::optional<PageId> own(PageId id);

  // Gives back up to `pages` free pages for good; capacity() falls by as many as it returns. Whole 4096 bytes of them
  // return to the machine, so pages that are not multiples of that leave crumbs.
  Index retire(Index pages);

  [[nodiscard]] std::byte* data(PageId id) const;
  [[nodiscard]] std::uint32_t refcount(PageId id) const { return records_[id].references; }
  // Rises each time the page is handed out: (id, generation) names a content for as long as the pool lives.
  [[nodiscard]] std::uint32_t generation(PageId id) const { return records_[id].generation; }

  [[nodiscard]] Bytes page_bytes() const { return page_bytes_; }
  [[nodiscard]] Index capacity() const { return capacity_; }  // pages that can be handed out
  [[nodiscard]] Index free_pages() const { return capacity() - in_use_; }
  [[nodiscard]] const Arena& arena() const { return arena_; }

 private:
  struct Record {
    std::uint32_t references = 0;
    std::uint32_t generation = 0;
  };
  std::optional<PageId> take();  // like allocate(), content unspecified
  void retire_range(PageId first, PageId end, bool backed);

  Arena arena_;
  Bytes page_bytes_;
  PageId first_;                 // the page at the arena's start
  std::vector<Record> records_;  // by id
  std::vector<PageId> free_;     // pages used before; the last released is the first reused
  PageId untouched_ = 1;         // this page and those up to end_ were never handed out: still zero, not yet committed
  PageId end_ = 0;               // this page and those above are retired
  Index capacity_ = 0;
  Index in_use_ = 0;
  bool zeroed_ = false;  // the page that take() returned last is untouched
};

}  // namespace jericho
