// Experts of a mixture that are not all in memory: each lies in a slot or in the model file, and is read when a router
// has chosen it, or before, when it is likely to be chosen. What is used often stays (memory/frequency_cache.h). Start
// at acquire(). Details: docs/memory.md#experts
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "memory/arena.h"
#include "memory/frequency_cache.h"
#include "models/expert_guesses.h"
#include "models/unit_reader.h"
#include "models/weight_units.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho {

// One thread. The units, the reader and the views outlive the store.
class ExpertStore {
 public:
  // `views` of the layout's placements; `memory` of the slots, units.expert_bytes() each, outlives the reader.
  ExpertStore(const WeightUnits& units, const std::vector<PackedMatrix*>& views, UnitReader& reader,
              std::span<std::byte> memory);

  [[nodiscard]] Index slots() const { return static_cast<Index>(cache_.slots()); }
  void step(Index tokens) {  // a pass begins
    cache_.step(tokens);
    guesses_.begins(tokens);
  }

  // Says which experts a layer's router has chosen, all of them, before acquire() is asked for some at a time.
  void choose(Index layer, std::span<const ExpertUse> experts);
  // Binds the views of experts `now` of one layer, in ascending order and no more than slots(), until the next call.
  // What is not in memory is read, all at once, and packed on the context's threads. `next` are those that the
  // following call will ask for: as far as there are slots, they are on their way then. Throws as UnitReader::finish();
  // experts that could not be read are forgotten.
  void acquire(const Context& context, Index layer, std::span<const ExpertUse> now, std::span<const ExpertUse> next);
  // Is it worth finding out what `layer`, the next one, is likely to choose?
  [[nodiscard]] bool wants_guesses(Index layer);
  // Begins to read experts that a later acquire() is likely to ask for, the likeliest first, as far as slots are free
  // for them and the disk has time for it (expert_guesses.h).
  void expect(Index layer, std::span<const std::int32_t> experts);
  // Gives slots back to the machine until `wanted` bytes are, or as many are left as a token needs; of `memory`, where
  // they lie. Those that are missed least go first. Between two passes.
  Bytes give_back(Bytes wanted, Arena& memory);
  void release() { cache_.release_all(); }  // at the end of a pass

  [[nodiscard]] const ExpertCounts& counts() const { return counts_; }

 private:
  // Expected: reading, and nobody has asked yet.
  enum class State : std::uint8_t { kEmpty, kReading, kExpected, kReady };
  struct Slot {
    State state = State::kEmpty;
    bool guessed = false;  // and the router of its layer has not spoken since
    std::vector<UnitReader::Unit> reads{};
  };

  [[nodiscard]] std::size_t unit(Index layer, Index expert) const {
    return static_cast<std::size_t>(units_.expert_unit(layer, expert));
  }
  // Begins to read a unit that has no slot; false when there is none for it.
  bool start(std::size_t unit, State state);
  void clear(std::size_t unit, std::size_t slot);
  void finish(const Context& context, std::size_t unit);
  void bind(std::size_t unit, std::size_t part, const std::byte* data);

  const WeightUnits& units_;
  const std::vector<PackedMatrix*>& views_;
  UnitReader& reader_;
  std::span<std::byte> memory_;
  FrequencyCache cache_;
  std::vector<Slot> slots_;
  ExpertCounts counts_;
  ExpertGuesses guesses_;
  bool disk_is_free_ = false;          // when the last acquire() ended
  std::optional<Index> guesses_left_;  // until the next choose(); not yet decided while nothing could be guessed
};

}  // namespace jericho
