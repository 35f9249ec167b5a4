// Reading what a router has chosen: see expert_store.h.
#include "models/expert_store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "models/matrix_packer.h"

namespace jericho {

ExpertStore::ExpertStore(const WeightUnits& units, const std::vector<PackedMatrix*>& views, UnitReader& reader,
                         std::span<std::byte> memory)
    : units_(units),
      views_(views),
      reader_(reader),
      memory_(memory),
      cache_([&] {
        const std::size_t slots = memory.size() / units.expert_bytes().size(), experts = units.experts().size();
        const auto of_layer = static_cast<std::size_t>(units.experts_of_layer());
        const auto per_token = static_cast<std::size_t>(units.experts_per_token());
        return FrequencyCache(experts, slots, of_layer, std::min(per_token, slots * of_layer / experts));
      }()),
      slots_(cache_.slots()) {}

void ExpertStore::bind(std::size_t unit, std::size_t part, const std::byte* data) {
  views_[units_.experts()[unit].placements[part]]->data = data;
}

bool ExpertStore::start(std::size_t unit, State state) {
  const auto slot = cache_.slot_for(unit);
  if (!slot) return false;
  if (const auto before = cache_.unit_in(*slot)) clear(*before, *slot);
  cache_.put(unit, *slot);
  std::byte* memory = memory_.data() + static_cast<Index>(*slot) * units_.expert_bytes().count;
  slots_[*slot].state = state;
  for (const std::size_t placement : units_.experts()[unit].placements) {
    const WeightPlacement& weight = units_.placement(placement);
    slots_[*slot].reads.push_back(reader_.start(weight, memory));
    memory += InPlace::of(weight).size.count;
  }
  ++counts_.reads;
  return true;
}

// The slot is somebody else's from now on.
void ExpertStore::clear(std::size_t unit, std::size_t slot) {
  if (slots_[slot].guessed) guesses_.came_true(false);
  for (const UnitReader::Unit& read : slots_[slot].reads) reader_.drop(read);
  slots_[slot] = {};
  for (std::size_t part = 0; part < units_.experts()[unit].placements.size(); ++part) bind(unit, part, nullptr);
  cache_.drop(unit);
}

void ExpertStore::finish(const Context& context, std::size_t unit) {
  const std::size_t slot = *cache_.slot_of(unit);
  std::vector<UnitReader::Unit> reads = std::exchange(slots_[slot].reads, {});
  for (std::size_t part = 0; part < reads.size(); ++part) {
    try {
      bind(unit, part, reader_.finish(context, reads[part]));
    } catch (const Error&) {
      slots_[slot].reads.assign(reads.begin() + static_cast<std::ptrdiff_t>(part) + 1, reads.end());
      clear(unit, slot);
      throw;
    }
  }
  slots_[slot].state = State::kReady;
}

void ExpertStore::choose(Index layer, std::span<const ExpertUse> experts) {
  guesses_.chooses(ExpertGuesses::Clock::now());
  guesses_left_.reset();
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].guessed) continue;
    const Index expert = static_cast<Index>(*cache_.unit_in(slot)) - static_cast<Index>(unit(layer, 0));
    if (expert < 0 || expert >= units_.experts_of_layer()) continue;
    slots_[slot].guessed = false;
    const auto is_chosen = [&](const ExpertUse& use) { return use.expert == expert; };
    guesses_.came_true(std::any_of(experts.begin(), experts.end(), is_chosen));
  }
}

void ExpertStore::acquire(const Context& context, Index layer, std::span<const ExpertUse> now,
                          std::span<const ExpertUse> next) {
  JERICHO_CHECK(std::ssize(now) <= slots(), "{} experts at once in {} slots", now.size(), slots());
  const ExpertGuesses::Clock::time_point asked = ExpertGuesses::Clock::now();
  const bool was_free = reader_.idle();
  const std::int64_t reads_before = counts_.reads;
  cache_.release_all();
  for (const ExpertUse& use : now) {
    const std::size_t wanted = unit(layer, use.expert);
    cache_.use(wanted, use.tokens);
    cache_.hold(wanted);
    const auto slot = cache_.slot_of(wanted);
    if (!slot) continue;
    if (slots_[*slot].state == State::kReady) ++counts_.hits;
    if (slots_[*slot].state == State::kExpected) ++counts_.foreseen;
  }
  const auto begin = [&](std::span<const ExpertUse> uses, State state) {
    for (const ExpertUse& use : uses) {
      const std::size_t wanted = unit(layer, use.expert);
      if (!cache_.slot_of(wanted) && !start(wanted, state)) return false;
    }
    return true;
  };
  JERICHO_CHECK(begin(now, State::kReading), "{} experts find no slots among {}", now.size(), slots());
  if (std::ssize(now) + std::ssize(next) <= slots()) {
    for (const ExpertUse& use : next) cache_.hold(unit(layer, use.expert));
    begin(next, State::kReading);
  }
  for (const ExpertUse& use : now) {
    const std::size_t wanted = unit(layer, use.expert);
    if (slots_[*cache_.slot_of(wanted)].state != State::kReady) finish(context, wanted);
  }
  disk_is_free_ = reader_.idle();
  const Index reads = counts_.reads - reads_before;
  if (was_free && disk_is_free_ && reads > 0) guesses_.reads(reader_.last_arrival() - asked, reads);
  guesses_.computes(ExpertGuesses::Clock::now());
}

Bytes ExpertStore::give_back(Bytes wanted, Arena& memory) {
  const Bytes each = units_.expert_bytes();
  const Index least = units_.experts_per_token();
  Bytes given{};
  while (given < wanted && slots() > least) {
    const auto slot = cache_.least_slot();
    if (!slot) break;
    if (const auto unit = cache_.unit_in(*slot)) clear(*unit, *slot);
    cache_.retire(*slot);
    memory.retire(each * static_cast<Index>(*slot), each, each);
    given += each;
  }
  return given;
}

bool ExpertStore::wants_guesses(Index layer) {
  if (!disk_is_free_) return false;
  for (Index expert = 0; expert < units_.experts_of_layer(); ++expert) {
    if (!cache_.slot_of(unit(layer, expert))) return guesses_.any_is_worthwhile(slots());
  }
  return false;
}

void ExpertStore::expect(Index layer, std::span<const std::int32_t> experts) {
  for (const std::int32_t expert : experts) {
    const std::size_t likely = unit(layer, expert);
    if (!cache_.slot_of(likely)) {
      if (!guesses_left_) guesses_left_ = disk_is_free_ ? guesses_.worthwhile(slots()) : 0;
      if (*guesses_left_ == 0 || !start(likely, State::kExpected)) return;
      slots_[*cache_.slot_of(likely)].guessed = true;
      --*guesses_left_;
      ++counts_.expected;
    }
    cache_.hold(likely);
  }
}

}  // namespace jericho
