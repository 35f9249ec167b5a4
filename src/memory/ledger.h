// The books of the process: every byte that lives longer than a call is leased here first, by tier and purpose, under
// one cap per tier. A cell has two numbers, reserved (promised) and used (really backed), because a plan that counts
// only the large arrays is killed by what it does not hold (docs/memory.md#ledger). Start at Ledger::reserve(); a Lease
// gives its bytes back when it dies.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/bytes.h"

namespace jericho {

enum class Tier : std::uint8_t { kDevice, kRam, kDisk };
inline constexpr std::size_t kTiers = 3;

enum class Purpose : std::uint8_t {
  kWeightsResident,  // pinned for the whole run
  kWeightsStaging,   // ring of slots that weights stream through
  kWeightsExperts,   // slots of a cache of experts
  kKvPages,
  kKvMeta,    // tables, refcounts, per-page bounds
  kKvPrefix,  // unreferenced pages kept for reuse
  kStateSsm,
  kAct,  // activations and scratch of a step
  kLogits,
  kAdapter,
  kDraft,  // everything of a speculative model
  kGrad,
  kOpt,     // optimizer moments
  kMaster,  // fp32 master weights
  kIoRing,
  kTokenizer,
  kHttp,
  kDataset,
  kRuntime,  // code, libraries, stacks, allocator slack, page tables
  kMargin,   // never used: what the estimates may be wrong by
};
inline constexpr std::size_t kPurposes = 20;

std::string_view name(Tier tier);        // "device", "ram", "disk"
std::string_view name(Purpose purpose);  // "weights.resident", "kv.pages", ...

// Why a reservation failed: complete enough to print or to plan around. `free` is at least 0.
struct Refusal {
  Tier tier{};
  Purpose purpose{};
  Bytes wanted{};
  Bytes free{};
};

struct LedgerCaps {
  Bytes device{};
  Bytes ram{};
  Bytes disk{};
};

// Each number is exact; taken while other threads reserve, the numbers are of nearly, not exactly, the same moment.
struct LedgerCount {
  Bytes reserved{};
  Bytes used{};
  Bytes peak_reserved{};
  Bytes peak_used{};
  std::int64_t refusals = 0;
};
struct LedgerSnapshot {
  std::array<Bytes, kTiers> caps{};
  std::array<LedgerCount, kTiers> tiers{};  // peaks are of the tier's total, not sums of its cells' peaks
  std::array<std::array<LedgerCount, kPurposes>, kTiers> cells{};

  [[nodiscard]] Bytes cap(Tier tier) const { return caps[static_cast<std::size_t>(tier)]; }
  [[nodiscard]] const LedgerCount& total(Tier tier) const { return tiers[static_cast<std::size_t>(tier)]; }
  [[nodiscard]] const LedgerCount& cell(Tier tier, Purpose purpose) const {
    return cells[static_cast<std::size_t>(tier)][static_cast<std::size_t>(purpose)];
  }
};

class Ledger;

// Bytes that are ours until the lease dies; move-only, 0 <= used() <= size(). A default-made or moved-from lease holds
// nothing. Thread-compatible: a lease has one owner, though any number of leases work on one ledger at once.
class [[nodiscard]] Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept { swap(other); }
  Lease& operator=(Lease other) noexcept {  // by value: the old bytes return at once
    swap(other);
    return *this;
  }
  Lease(const Lease&) = delete;
  ~Lease();

  void swap(Lease& other) noexcept;
  explicit operator bool() const { return ledger_ != nullptr; }
  [[nodiscard]] Tier tier() const { return tier_; }
  [[nodiscard]] Purpose purpose() const { return purpose_; }
  [[nodiscard]] Bytes size() const { return size_; }
  [[nodiscard]] Bytes used() const { return used_; }

  // `more` of the leased bytes are backed now, or `less` no longer. Leaving [0, size()] is a bug and aborts.
  void commit(Bytes more);
  void uncommit(Bytes less);
  // Gives the bytes above `size` back; used() <= size <= size() or it aborts. For estimates that a measurement
  // replaced.
  void shrink_to(Bytes size);

 private:
  friend class Ledger;
  Lease(Ledger* ledger, Tier tier, Purpose purpose, Bytes size)
      : ledger_(ledger), tier_(tier), purpose_(purpose), size_(size) {}

  Ledger* ledger_ = nullptr;  // outlives the lease
  Tier tier_ = Tier::kRam;
  Purpose purpose_ = Purpose::kMargin;
  Bytes size_{};
  Bytes used_{};
};

// Thread-safe, without locks: a reservation is one compare-and-exchange on its tier.
class Ledger {
 public:
  explicit Ledger(LedgerCaps caps);
  ~Ledger();  // aborts when a lease is still alive: its owner would write to the dead ledger
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Never blocks, never over-commits. The caller decides what a refusal means: evict, spill, queue or fail.
  std::variant<Lease, Refusal> reserve(Tier tier, Purpose purpose, Bytes size);
  // For callers without a second plan: throws Error(kBudget) with describe().
  Lease require(Tier tier, Purpose purpose, Bytes size);
  // Tier, purpose, wanted, free, cap and the largest holders in one sentence.
  [[nodiscard]] std::string describe(const Refusal& refusal) const;

  // May go below what is reserved: new reservations are refused from then on, until enough leases have died.
  void set_cap(Tier tier, Bytes cap);
  [[nodiscard]] Bytes cap(Tier tier) const;
  [[nodiscard]] Bytes free(Tier tier) const;  // cap less reserved, at least 0
  [[nodiscard]] LedgerSnapshot snapshot() const;
  [[nodiscard]] std::int64_t live_leases() const { return live_.load(); }

 private:
  friend class Lease;
  // A count and the highest value it ever had. Every change knows the value it made, so no peak is lost in a race.
  class Gauge {
   public:
    void add(std::int64_t delta);
    bool add_below(std::int64_t delta, const std::atomic<std::int64_t>& cap);
    [[nodiscard]] std::int64_t value() const { return value_.load(); }
    [[nodiscard]] std::int64_t peak() const { return peak_.load(); }

   private:
    void raise_peak(std::int64_t value);
    std::atomic<std::int64_t> value_{0};
    std::atomic<std::int64_t> peak_{0};
  };
  struct Counters {
    Gauge reserved;
    Gauge used;
    std::atomic<std::int64_t> refusals{0};
    [[nodiscard]] LedgerCount read() const;
  };

  Counters& total(Tier tier) { return tiers_[static_cast<std::size_t>(tier)]; }
  Counters& cell(Tier tier, Purpose purpose) {
    return cells_[static_cast<std::size_t>(tier)][static_cast<std::size_t>(purpose)];
  }
  void change_used(Tier tier, Purpose purpose, std::int64_t delta);
  void change_reserved(Tier tier, Purpose purpose, std::int64_t delta);

  std::array<std::atomic<std::int64_t>, kTiers> caps_{};
  std::array<Counters, kTiers> tiers_{};
  std::array<std::array<Counters, kPurposes>, kTiers> cells_{};
  std::atomic<std::int64_t> live_{0};
};

}  // namespace jericho
