// Anonymous mappings through mmap(2) and madvise(2). Start at the constructor.
// Huge pages are asked for on the whole 2 MiB part and forbidden on the tail: the kernel may join a tail with a
// neighbouring mapping, and a huge page across both would make resident what nobody touched.
#include "memory/arena.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::size_t kPopulateStep = std::size_t{64} << 20;

// `size` zero bytes from an address that is a multiple of `alignment`; null when the kernel refuses.
std::byte* map_aligned(std::size_t size, std::size_t alignment) {
  const std::size_t slack = alignment - kPageSize.size();
  void* mapping =
      mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapping);
  const std::size_t skip = -reinterpret_cast<std::uintptr_t>(begin) & (alignment - 1);
  if (skip > 0) munmap(begin, skip);
  if (slack > skip) munmap(begin + skip + size, slack - skip);
  return begin + skip;
}

}  // namespace

Arena::Arena(Lease lease, ArenaOptions options) : lease_(std::move(lease)) {
  mapped_ = lease_.size();
  const std::size_t size = mapped_.size();
  JERICHO_CHECK(lease_.tier() == Tier::kRam && lease_.size() == arena_bytes(lease_.size()) && lease_.used().count == 0,
                "an arena of {} B needs a fresh lease of whole pages in RAM", lease_.size().count);
  if (size == 0) return;
  const std::size_t alignment = (lease_.size() >= kHugePageSize ? kHugePageSize : kPageSize).size();
  data_ = map_aligned(size, alignment);
  if (data_ == nullptr) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: the kernel maps no {} of memory: {}; see vm.overcommit_memory and ulimit -v",
                            name(lease_.purpose()), format_bytes(lease_.size()), std::strerror(errno)));
  }
  // Advice may fail on a kernel without transparent huge pages: the arena then has small ones.
  const std::size_t whole = options.huge_pages ? size / kHugePageSize.size() * kHugePageSize.size() : 0;
  if (whole > 0) madvise(data_, whole, MADV_HUGEPAGE);
  if (whole < size) madvise(data_ + whole, size - whole, MADV_NOHUGEPAGE);
  try {
    if (options.populate) populate();
  } catch (...) {  // the destructor of a half-made object does not run
    munmap(data_, size);
    throw;
  }
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, mapped_.size());
}

void Arena::swap(Arena& other) noexcept {
  lease_.swap(other.lease_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  std::swap(populated_, other.populated_);
}

void Arena::check_within(Bytes offset, Bytes length) const {
  JERICHO_CHECK(offset.count >= 0 && length.count >= 0 && offset <= mapped_ && length <= mapped_ - offset,
                "[{}, +{}) of an arena of {}", offset.count, length.count, mapped_.count);
}

void Arena::commit(Bytes offset, Bytes length) {
  check_within(offset, length);
  if (!populated_) lease_.commit(length);
}

void Arena::drop(Bytes offset, Bytes length) {
  check_within(offset, length);
  JERICHO_CHECK(offset == arena_bytes(offset) && length == arena_bytes(length), "[{}, +{}) is not of whole pages",
                offset.count, length.count);
  const int failed = length.count > 0 ? madvise(data_ + offset.count, length.size(), MADV_DONTNEED) : 0;
  JERICHO_CHECK(failed == 0, "madvise: {}", std::strerror(errno));
}

void Arena::release(Bytes offset, Bytes length) {
  drop(offset, length);
  if (length.count == 0) return;
  lease_.uncommit(length);
  populated_ = false;
}

void Arena::retire(Bytes offset, Bytes length, Bytes backed) {
  drop(offset, length);
  lease_.uncommit(populated_ ? length : backed);
  lease_.shrink_to(lease_.size() - length);
}

void Arena::back_pages(std::byte* begin, std::size_t length) {
  int error = EINVAL;
#ifdef MADV_POPULATE_WRITE
  do {
    error = madvise(begin, length, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
  } while (error == EINTR || error == EAGAIN);
#endif
  if (error == EINVAL || error == ENOSYS) {  // before Linux 5.14: write each page, keeping what it holds
    for (std::size_t at = 0; at < length; at += kPageSize.size()) {
      auto* const byte = reinterpret_cast<volatile std::byte*>(begin + at);
      *byte = *byte;
    }
  } else if (error != 0) {
    throw Error(ErrorKind::kBudget, fmt::format("{}: the machine cannot back {} of memory: {}; lower --memory",
                                                name(lease_.purpose()), format_bytes(size()), std::strerror(error)));
  }
}

void Arena::populate(const std::stop_token& stop, const Progress& progress) {
  const std::size_t total = size().size();
  for (std::size_t done = 0; done < total && !populated_;) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "stopped while memory was being populated");
    const std::size_t step = std::min(kPopulateStep, total - done);
    back_pages(data_ + done, step);
    done += step;
    const Bytes backed{static_cast<std::int64_t>(done)};
    if (backed > used()) lease_.commit(backed - used());  // less what the owner had committed piecemeal
    if (progress) progress(backed, size());
  }
  populated_ = total > 0;
}

Scratch::Scratch(std::span<std::byte> block) : block_(block) {
  JERICHO_CHECK(reinterpret_cast<std::uintptr_t>(block.data()) % kScratchAlign.size() == 0, "scratch at {}",
                static_cast<const void*>(block.data()));
}

std::byte* Scratch::advance(Bytes size) {
  JERICHO_CHECK(size <= free(), "scratch of {} B: {} B taken, {} B wanted", block_.size(), used_.count, size.count);
  std::byte* const piece = block_.data() + used_.count;
  used_ += size;
  peak_ = std::max(peak_, used_);
  return piece;
}

void Scratch::rewind(Bytes mark) {
  JERICHO_CHECK(mark.count >= 0 && mark <= used_, "rewind to {} of {}", mark.count, used_.count);
  used_ = mark;
}

}  // namespace jericho
