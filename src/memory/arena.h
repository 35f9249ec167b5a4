// Large blocks of memory that own their lease, and the bump allocator that hands out scratch from them.
// Start at Arena. arena_bytes() and ScratchSize are what the planner asks, so that plan and allocation cannot differ.
// An arena is one anonymous mapping: bytes cost memory when first touched, which the owner announces with commit().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <type_traits>

#include "base/bytes.h"
#include "base/check.h"
#include "base/index.h"
#include "memory/ledger.h"

namespace jericho {

inline constexpr Bytes kPageSize{4096};
inline constexpr Bytes kHugePageSize{2 << 20};

// What an arena for `wanted` bytes takes: whole pages of 4096 B. Lease this size, then make the Arena from the lease.
constexpr Bytes arena_bytes(Bytes wanted) { return round_up(wanted, kPageSize); }

struct ArenaOptions {
  bool huge_pages =
      true;  // ask for 2 MiB pages where whole ones fit; the tail stays in 4 KiB pages and is never rounded up
  bool populate = false;  // back every byte now
};

// Move-only; thread-compatible. Zero-filled at first.
class Arena {
 public:
  Arena() = default;  // no bytes
  // Maps lease.size() bytes, which must come from arena_bytes() in tier ram. Starts on a 2 MiB boundary when that
  // large, else on 4 KiB. Throws Error(kIo) when the kernel refuses the mapping.
  explicit Arena(Lease lease, ArenaOptions options = {});
  Arena(Arena&& other) noexcept { swap(other); }
  Arena& operator=(Arena other) noexcept {
    swap(other);
    return *this;
  }
  Arena(const Arena&) = delete;
  ~Arena();
  void swap(Arena& other) noexcept;

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, mapped_.size()}; }
  [[nodiscard]] Bytes size() const { return lease_.size(); }  // bytes() less what was retired
  [[nodiscard]] Bytes used() const { return lease_.used(); }
  [[nodiscard]] const Lease& lease() const { return lease_; }
  [[nodiscard]] bool populated() const { return populated_; }

  // Announces that [offset, offset + length), not committed before, is about to be touched. Nothing to do when
  // populated(). With huge pages the kernel backs up to 2 MiB at the first touch, within the arena.
  void commit(Bytes offset, Bytes length);
  // Returns committed pages to the kernel; they read as zeros afterwards. Both numbers are multiples of 4096.
  void release(Bytes offset, Bytes length);
  // Gives bytes back for good, memory and lease: nothing touches them again. `backed` of them were committed, all of
  // them where the arena is populated(). The three are multiples of 4096.
  void retire(Bytes offset, Bytes length, Bytes backed);

  // Backs every byte, 64 MiB at a time; `progress` runs after each step and may throw to end it. Throws
  // Error(kInterrupted) on a stop request and Error(kBudget) when the kernel has no memory; what was backed until then
  // stays committed.
  using Progress = std::function<void(Bytes done, Bytes total)>;
  void populate(const std::stop_token& stop = {}, const Progress& progress = {});

 private:
  void back_pages(std::byte* begin, std::size_t length);
  void drop(Bytes offset, Bytes length);
  void check_within(Bytes offset, Bytes length) const;

  Lease lease_;
  Bytes mapped_{};
  std::byte* data_ = nullptr;
  bool populated_ = false;
};

inline constexpr Bytes kScratchAlign{64};  // a cache line, and the widest vector

// Bytes that a take<T>(count) costs: the one rounding rule of Scratch and ScratchSize.
template <class T>
constexpr Bytes scratch_bytes(Index count) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64);
  JERICHO_CHECK(count >= 0 && count <= (Index{1} << 56) / static_cast<Index>(sizeof(T)), "scratch of {} elements",
                count);
  return round_up(Bytes{count * static_cast<Index>(sizeof(T))}, kScratchAlign);
}

// Hands out consecutive pieces of a block that someone else owns, each on a 64-byte boundary. Contents are whatever was
// there. Thread-compatible. Running out is a bug: the block was sized by the same calls on a ScratchSize.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(std::span<std::byte> block);  // starts on a 64-byte boundary, as every arena does

  template <class T>
  std::span<T> take(Index count) {
    std::byte* piece = advance(scratch_bytes<T>(count));
    return {reinterpret_cast<T*>(piece), static_cast<std::size_t>(count)};
  }
  [[nodiscard]] Bytes mark() const { return used_; }
  void rewind(Bytes mark);  // what was taken since mark() may be taken again
  [[nodiscard]] Bytes peak() const { return peak_; }
  [[nodiscard]] Bytes free() const { return Bytes{static_cast<std::int64_t>(block_.size())} - used_; }

 private:
  std::byte* advance(Bytes size);
  std::span<std::byte> block_;
  Bytes used_{};
  Bytes peak_{};
};

// The same calls, only counted: peak() is the block that a Scratch needs for them. Its spans are empty.
class ScratchSize {
 public:
  template <class T>
  std::span<T> take(Index count) {
    used_ += scratch_bytes<T>(count);
    if (used_ > peak_) peak_ = used_;
    return {};
  }
  [[nodiscard]] Bytes mark() const { return used_; }
  void rewind(Bytes mark) { used_ = mark; }
  [[nodiscard]] Bytes peak() const { return peak_; }

 private:
  Bytes used_{};
  Bytes peak_{};
};

// Frees at the end of a block what was taken in it.
template <class S>
class ScratchScope {
 public:
  explicit ScratchScope(S& scratch) : scratch_(scratch), mark_(scratch.mark()) {}
  ~ScratchScope() { scratch_.rewind(mark_); }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

 private:
  S& scratch_;
  Bytes mark_;
};

}  // namespace jericho
