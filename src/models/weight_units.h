// What of a model may be read from its file again in every forward pass, in place of being kept in memory: unit by
// unit, in the order in which a pass uses them, and experts as they are chosen. The planner says which units are pinned
// and how many experts have slots (WeightResidency); WeightStream and ExpertStore bring the others. Start at
// WeightUnits.
//                                                                                     Details: docs/memory.md#residency
#pragma once

#include <algorithm>
#include <deque>
#include <iterator>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "models/config.h"
#include "models/weights.h"

namespace jericho {

struct WeightUnit {
  const WeightPlacement* weight = nullptr;  // of the layout, or a piece of the head
  std::size_t placement = 0;                // index of the weight in the layout
  Index group = 0;                          // used together, in ascending order; groups may be without units
  Index first_row = 0;                      // of a piece
};

// Of a layer: gate, up and down.
struct ExpertUnit {
  std::vector<std::size_t> placements{};  // of the layout
};

// Experts that have slots of a cache, where not all are in memory, and what they are chosen from.
struct ExpertCaching {
  Index slots = 0;    // 0: no cache
  Index experts = 0;  // of all layers
  Index of_layer = 0;
  Index per_token = 0;  // of a layer
  Bytes read{};         // from the file, for one of them

  // Of an expert that is asked for, as far as a plan can know: all are chosen alike.
  [[nodiscard]] double hit_rate() const { return static_cast<double>(slots) / static_cast<double>(experts); }
  // From the file, by a pass over so many tokens.
  [[nodiscard]] double read_per_pass(double tokens) const;
};

struct StreamDepth {  // what is read ahead
  int groups = 1;     // that have room at once; with 1, none beside the one in use
};

// Which weights are in memory: a choice of the planner, carried out by Model::load().
struct WeightResidency {
  bool whole = true;           // all, where the layout places them; else:
  std::vector<bool> pinned{};  // units that are
  Bytes resident{};            // their arena, with what is never streamed
  Bytes ring{};                // of units in use and on their way
  Bytes loaded{};              // of the file, once
  Bytes read_per_pass{};       // of the file, by every pass, in whole blocks of the disk
  Bytes read_per_token{};      // rows of the embedding, likewise
  ExpertCaching experts{};

  [[nodiscard]] bool streams() const { return ring > Bytes{}; }
  [[nodiscard]] bool reads_units() const { return streams() || experts.slots > 0; }
};

class WeightUnits {
 public:
  // `layout` outlives the units.
  WeightUnits(const ModelConfig& config, const WeightLayout& layout);

  [[nodiscard]] const std::vector<WeightUnit>& units() const { return units_; }
  [[nodiscard]] Index groups() const { return first_head_group_ + head_pieces_; }
  // Of a layer that is passed several times in a row, both parts are one group.
  [[nodiscard]] Index group(Index layer, LayerPart part) const {
    return whole_layers_ ? layer : 2 * layer + static_cast<Index>(part);
  }
  [[nodiscard]] Index first_head_group() const { return first_head_group_; }
  // The embedding, where its rows are read from the file as tokens need them; null where it is always in memory.
  [[nodiscard]] const WeightPlacement* row_table() const { return row_table_; }

  // Is there anything that need not be in memory? Not where weights have no file, or a form that only loading undoes.
  [[nodiscard]] bool any() const { return !units_.empty() || row_table_ != nullptr || !experts_.empty(); }

  // Layer by layer; none where they are always in memory.
  [[nodiscard]] const std::vector<ExpertUnit>& experts() const { return experts_; }
  [[nodiscard]] Index expert_unit(Index layer, Index expert) const {
    return first_expert_[static_cast<std::size_t>(layer)] + expert;
  }
  [[nodiscard]] Index experts_of_layer() const { return experts_of_layer_; }
  [[nodiscard]] Index experts_per_token() const { return experts_per_token_; }
  [[nodiscard]] Bytes expert_bytes() const { return expert_bytes_; }  // of a slot
  [[nodiscard]] const WeightPlacement& placement(std::size_t index) const { return layout_.placements()[index]; }

  [[nodiscard]] WeightResidency whole() const;
  // As many units as `room` holds, spread over the pass; once it holds all of them, more slots for experts than the
  // fewest. Every pass needs all units, but not all experts.
  [[nodiscard]] WeightResidency pin(Bytes room, StreamDepth depth) const;
  // All units, and slots for all experts.
  [[nodiscard]] Bytes pinnable() const { return pinnable_ + expert_bytes_ * (std::ssize(experts_) - least_slots()); }
  [[nodiscard]] Bytes slots_bytes(const WeightResidency& residency) const {
    return expert_bytes_ * residency.experts.slots;
  }

  // Room for what pin() chose: ring, rooms of the threads that pack, and rows of the embedding.
  [[nodiscard]] Bytes staging_bytes(const WeightResidency& residency, int threads) const;
  [[nodiscard]] Bytes rows_bytes() const;                               // the last of them
  [[nodiscard]] Bytes room() const { return room_; }                    // of each thread
  [[nodiscard]] int backends(const WeightResidency& residency) const {  // of I/O, besides that for loading
    return residency.whole ? 0 : (row_table_ != nullptr ? 1 : 0) + (residency.reads_units() ? 1 : 0);
  }
  // Heap that streaming takes beside it.
  [[nodiscard]] Bytes books_bytes() const;

  struct Resident {
    const WeightPlacement* weight = nullptr;
    std::size_t placement = 0;
    std::optional<std::size_t> piece{};  // of the head: which
    Bytes offset{};                      // in the arena
  };
  [[nodiscard]] std::vector<Resident> residents(const WeightResidency& residency) const;

 private:
  void add(const WeightPlacement& weight, std::size_t placement, Index group, Index first_row);
  void cut_head(const WeightPlacement& head, std::size_t placement);
  void add_experts(const ModelConfig& config);
  // With fewer, a token's experts of one layer would not be in memory together.
  [[nodiscard]] Index least_slots() const { return std::min<Index>(std::ssize(experts_), experts_per_token_); }
  [[nodiscard]] bool in_units(std::size_t placement) const { return in_units_[placement]; }

  const WeightLayout& layout_;
  std::vector<WeightUnit> units_;
  std::vector<bool> in_units_;          // of the layout's placements
  std::deque<WeightPlacement> pieces_;  // of the head; the units point to them
  const WeightPlacement* row_table_ = nullptr;
  bool whole_layers_ = false;
  bool tied_ = false;
  Index first_head_group_ = 0;
  Index head_pieces_ = 0;
  std::vector<ExpertUnit> experts_;
  std::vector<Index> first_expert_;  // of every layer
  Index experts_of_layer_ = 0;
  Index experts_per_token_ = 0;
  Bytes expert_bytes_{};
  Bytes expert_read_{};  // on average
  Bytes always_{};       // resident, whatever is pinned
  Bytes always_loaded_{};
  Bytes pinnable_{};
  Bytes largest_unit_{};
  Bytes room_{};
};

}  // namespace jericho
