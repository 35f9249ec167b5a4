// Scores and evictions: see frequency_cache.h.
#include "memory/frequency_cache.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace jericho {

FrequencyCache::FrequencyCache(std::size_t units, std::size_t slots, std::size_t kin, std::size_t floor)
    : kin_(kin),
      floor_(floor),
      uses_(units),
      slot_of_(units, kNone),
      held_(units, false),
      in_slot_(slots, kNone),
      placed_((units + kin - 1) / kin, 0) {}

void FrequencyCache::step(std::int64_t steps) {
  now_ += steps;
  constexpr std::int64_t kMost = 256 * 64;  // weights stay below 2^64 uses
  if (now_ - origin_ < kMost) return;
  const double factor = std::exp2(-static_cast<double>(now_ - origin_) / kHalfLife);
  for (Use& use : uses_) use.weight *= factor;
  origin_ = now_;
}

void FrequencyCache::use(std::size_t unit, std::int64_t times) {
  uses_[unit].weight += static_cast<double>(times) * std::exp2(static_cast<double>(now_ - origin_) / kHalfLife);
  uses_[unit].last = now_;
}

std::optional<std::size_t> FrequencyCache::slot_of(std::size_t unit) const {
  if (slot_of_[unit] == kNone) return std::nullopt;
  return slot_of_[unit];
}

std::optional<std::size_t> FrequencyCache::unit_in(std::size_t slot) const {
  if (in_slot_[slot] == kNone || in_slot_[slot] == kRetired) return std::nullopt;
  return in_slot_[slot];
}

double FrequencyCache::score(std::size_t unit) const {
  const double frequency = uses_[unit].weight * std::exp2(-static_cast<double>(now_ - origin_) / kHalfLife);
  const double recent = now_ - uses_[unit].last < kRecent ? 1 : 0;
  return kFrequencyShare * frequency + (1 - kFrequencyShare) * recent;
}

std::size_t FrequencyCache::worst_slot(std::size_t unit, bool with_floor) const {
  std::size_t worst = kNone;
  double least = 0;
  for (std::size_t slot = 0; slot < in_slot_.size(); ++slot) {
    const std::size_t other = in_slot_[slot];
    if (other == kNone) return slot;
    if (other == kRetired) continue;
    if (held_[other]) continue;
    if (with_floor && other / kin_ != unit / kin_ && placed_[other / kin_] <= floor_) continue;
    const double its = score(other);
    if (worst == kNone || its < least) worst = slot, least = its;
  }
  return worst;
}

std::optional<std::size_t> FrequencyCache::slot_for(std::size_t unit) const {
  std::size_t slot = worst_slot(unit, true);
  if (slot == kNone) slot = worst_slot(unit, false);
  if (slot == kNone) return std::nullopt;
  return slot;
}

std::optional<std::size_t> FrequencyCache::least_slot() const {
  const std::size_t slot = worst_slot(0, false);
  if (slot == kNone) return std::nullopt;
  return slot;
}

void FrequencyCache::retire(std::size_t slot) {
  JERICHO_CHECK(in_slot_[slot] == kNone, "slot {} has unit {}", slot, in_slot_[slot]);
  in_slot_[slot] = kRetired;
  ++retired_;
}

void FrequencyCache::put(std::size_t unit, std::size_t slot) {
  JERICHO_CHECK(slot_of_[unit] == kNone && in_slot_[slot] == kNone, "unit {} in slot {}, which has unit {}", unit, slot,
                in_slot_[slot]);
  in_slot_[slot] = unit;
  slot_of_[unit] = slot;
  ++placed_[unit / kin_];
}

void FrequencyCache::drop(std::size_t unit) {
  if (slot_of_[unit] == kNone) return;
  in_slot_[slot_of_[unit]] = kNone;
  slot_of_[unit] = kNone;
  --placed_[unit / kin_];
}

}  // namespace jericho
