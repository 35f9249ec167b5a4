// The ledger's arithmetic. Start at Ledger::reserve(); Gauge::add_below() is the whole of the concurrency: the tier's
// total is raised by compare-and-exchange under its cap, the cell's follows by addition. All atomics are seq_cst: a
// lease is taken per arena or page, not per element.
#include "memory/ledger.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {

std::string_view name(Tier tier) {
  constexpr std::array<std::string_view, kTiers> kNames = {"device", "ram", "disk"};
  return kNames[static_cast<std::size_t>(tier)];
}

std::string_view name(Purpose purpose) {
  constexpr std::array<std::string_view, kPurposes> kNames = {"weights.resident",
                                                              "weights.staging",
                                                              "weights.experts",
                                                              "kv.pages",
                                                              "kv.meta",
                                                              "kv.prefix",
                                                              "state.ssm",
                                                              "act",
                                                              "logits",
                                                              "adapter",
                                                              "draft",
                                                              "grad",
                                                              "opt",
                                                              "master",
                                                              "io.ring",
                                                              "tokenizer",
                                                              "http",
                                                              "dataset",
                                                              "runtime",
                                                              "margin"};
  return kNames[static_cast<std::size_t>(purpose)];
}

Lease::~Lease() {
  if (ledger_ == nullptr) return;
  if (used_.count != 0) ledger_->change_used(tier_, purpose_, -used_.count);
  ledger_->change_reserved(tier_, purpose_, -size_.count);
  ledger_->live_.fetch_sub(1);
}

void Lease::swap(Lease& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(tier_, other.tier_);
  std::swap(purpose_, other.purpose_);
  std::swap(size_, other.size_);
  std::swap(used_, other.used_);
}

void Lease::commit(Bytes more) {
  JERICHO_CHECK(more.count >= 0 && more <= size_ - used_, "{}: commit {} of {}, {} used", name(purpose_), more.count,
                size_.count, used_.count);
  if (more.count == 0) return;
  used_ += more;
  ledger_->change_used(tier_, purpose_, more.count);
}

void Lease::uncommit(Bytes less) {
  JERICHO_CHECK(less.count >= 0 && less <= used_, "{}: uncommit {}, {} used", name(purpose_), less.count, used_.count);
  if (less.count == 0) return;
  used_ -= less;
  ledger_->change_used(tier_, purpose_, -less.count);
}

void Lease::shrink_to(Bytes size) {
  JERICHO_CHECK(size >= used_ && size <= size_, "{}: shrink {} to {}, {} used", name(purpose_), size_.count, size.count,
                used_.count);
  if (size == size_) return;
  ledger_->change_reserved(tier_, purpose_, size.count - size_.count);
  size_ = size;
}

void Ledger::Gauge::raise_peak(std::int64_t value) {
  std::int64_t peak = peak_.load();
  while (value > peak && !peak_.compare_exchange_weak(peak, value)) {
  }
}

void Ledger::Gauge::add(std::int64_t delta) {
  const std::int64_t value = value_.fetch_add(delta) + delta;
  JERICHO_CHECK(value >= 0, "a ledger count fell to {}", value);
  if (delta > 0) raise_peak(value);
}

bool Ledger::Gauge::add_below(std::int64_t delta, const std::atomic<std::int64_t>& cap) {
  std::int64_t value = value_.load();
  do {
    if (delta > cap.load() - value) return false;  // no overflow: both are at least 0
  } while (!value_.compare_exchange_weak(value, value + delta));
  raise_peak(value + delta);
  return true;
}

LedgerCount Ledger::Counters::read() const {
  return {{reserved.value()}, {used.value()}, {reserved.peak()}, {used.peak()}, refusals.load()};
}

Ledger::Ledger(LedgerCaps caps) {
  set_cap(Tier::kDevice, caps.device);
  set_cap(Tier::kRam, caps.ram);
  set_cap(Tier::kDisk, caps.disk);
}

Ledger::~Ledger() { JERICHO_CHECK(live_leases() == 0, "{} leases outlive their ledger", live_leases()); }

std::variant<Lease, Refusal> Ledger::reserve(Tier tier, Purpose purpose, Bytes size) {
  JERICHO_CHECK(size.count >= 0, "{}: reserve {}", name(purpose), size.count);
  if (!total(tier).reserved.add_below(size.count, caps_[static_cast<std::size_t>(tier)])) {
    total(tier).refusals.fetch_add(1);
    cell(tier, purpose).refusals.fetch_add(1);
    return Refusal{tier, purpose, size, free(tier)};
  }
  cell(tier, purpose).reserved.add(size.count);
  live_.fetch_add(1);
  return Lease(this, tier, purpose, size);
}

Lease Ledger::require(Tier tier, Purpose purpose, Bytes size) {
  std::variant<Lease, Refusal> outcome = reserve(tier, purpose, size);
  if (const Refusal* refusal = std::get_if<Refusal>(&outcome)) throw Error(ErrorKind::kBudget, describe(*refusal));
  return std::get<Lease>(std::move(outcome));
}

std::string Ledger::describe(const Refusal& refusal) const {
  const LedgerSnapshot now = snapshot();
  std::vector<std::pair<Bytes, Purpose>> holders;
  for (std::size_t p = 0; p < kPurposes; ++p) {
    const auto purpose = static_cast<Purpose>(p);
    const Bytes held = now.cell(refusal.tier, purpose).reserved;
    if (held.count > 0) holders.emplace_back(held, purpose);
  }
  std::sort(holders.rbegin(), holders.rend());
  if (holders.size() > 3) holders.resize(3);
  std::string held;
  for (const auto& [bytes, purpose] : holders) {
    held += fmt::format("{}{} {}", held.empty() ? "" : ", ", name(purpose), format_bytes(bytes));
  }
  return fmt::format("{}: {} wants {} ({} B), free are {} ({} B) of {}; largest holders: {}; give more with --memory",
                     name(refusal.tier), name(refusal.purpose), format_bytes(refusal.wanted), refusal.wanted.count,
                     format_bytes(refusal.free), refusal.free.count, format_bytes(now.cap(refusal.tier)),
                     held.empty() ? "none" : held);
}

void Ledger::set_cap(Tier tier, Bytes cap) {
  JERICHO_CHECK(cap.count >= 0, "cap of {}: {}", name(tier), cap.count);
  caps_[static_cast<std::size_t>(tier)].store(cap.count);
}

Bytes Ledger::cap(Tier tier) const { return {caps_[static_cast<std::size_t>(tier)].load()}; }

Bytes Ledger::free(Tier tier) const {
  const std::int64_t reserved = tiers_[static_cast<std::size_t>(tier)].reserved.value();
  return {std::max<std::int64_t>(0, cap(tier).count - reserved)};
}

LedgerSnapshot Ledger::snapshot() const {
  LedgerSnapshot result;
  for (std::size_t t = 0; t < kTiers; ++t) {
    result.caps[t] = {caps_[t].load()};
    result.tiers[t] = tiers_[t].read();
    for (std::size_t p = 0; p < kPurposes; ++p) result.cells[t][p] = cells_[t][p].read();
  }
  return result;
}

void Ledger::change_used(Tier tier, Purpose purpose, std::int64_t delta) {
  cell(tier, purpose).used.add(delta);
  total(tier).used.add(delta);
}

void Ledger::change_reserved(Tier tier, Purpose purpose, std::int64_t delta) {
  cell(tier, purpose).reserved.add(delta);  // the cell first: a tier never shows more room than its cells
  total(tier).reserved.add(delta);
}

}  // namespace jericho
