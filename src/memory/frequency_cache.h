// Which units stay in the slots of a cache when units are chosen by what is computed, as the experts of a mixture are,
// and not in turn (pinned_set.h): those used often, weighted towards the recent past. Bookkeeping only; the bytes of a
// slot are somebody else's. Start at slot_for().
//
//   score(u) = 0.7 f + 0.3 r    f: uses, halved every 256 steps; r: 1 when u was used within the last 16 steps, else 0
//
// Details: docs/memory.md#experts
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace jericho {

// Thread-compatible.
class FrequencyCache {
 public:
  static constexpr double kHalfLife = 256, kFrequencyShare = 0.7;
  static constexpr std::int64_t kRecent = 16;

  // Units [n * kin, (n + 1) * kin) are kin: the experts of a layer. Of every kin `floor` keep their slots before
  // others', so that none starves.
  FrequencyCache(std::size_t units, std::size_t slots, std::size_t kin, std::size_t floor);

  void step(std::int64_t steps);  // tokens, say
  // Notes that the unit is used, by so many of the present steps.
  void use(std::size_t unit, std::int64_t times);

  [[nodiscard]] std::optional<std::size_t> slot_of(std::size_t unit) const;
  // A slot for a unit that has none: an empty one, else that of the unit with the least score, the lower slot of
  // equals. Units that are held keep theirs; nothing when every one is. What lies there is dropped before the unit is
  // put there.
  [[nodiscard]] std::optional<std::size_t> slot_for(std::size_t unit) const;
  // The slot that is missed least: an empty one, else that of the unit with the least score of those that are not held.
  [[nodiscard]] std::optional<std::size_t> least_slot() const;
  void retire(std::size_t slot);  // an empty one is never used again
  void put(std::size_t unit, std::size_t slot);
  void drop(std::size_t unit);  // its slot is empty again

  void hold(std::size_t unit) { held_[unit] = true; }
  void release_all() { held_.assign(held_.size(), false); }

  [[nodiscard]] double score(std::size_t unit) const;
  [[nodiscard]] std::optional<std::size_t> unit_in(std::size_t slot) const;
  [[nodiscard]] std::size_t slots() const { return in_slot_.size() - retired_; }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  static constexpr std::size_t kRetired = static_cast<std::size_t>(-2);  // in in_slot_
  struct Use {
    double weight = 0;  // uses, each 2^(when / kHalfLife) since origin_: old ones need no halving
    std::int64_t last = -(std::int64_t{1} << 40);
  };

  [[nodiscard]] std::size_t worst_slot(std::size_t unit, bool with_floor) const;

  std::size_t kin_;
  std::size_t floor_;
  std::int64_t now_ = 0;
  std::int64_t origin_ = 0;
  std::vector<Use> uses_;             // of units
  std::vector<std::size_t> slot_of_;  // of units
  std::vector<bool> held_;            // units
  std::vector<std::size_t> in_slot_;  // units of slots
  std::vector<std::size_t> placed_;   // of every kin
  std::size_t retired_ = 0;           // slots
};

}  // namespace jericho
