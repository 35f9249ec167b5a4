// What of a model may be read from its file again in every forward pass, in place of being kept in memory: unit by unit, in
// the order in which a pass uses them. The planner chooses which are pinned (WeightResidency); WeightStream brings the
// others. Start at WeightUnits.                                                      Details: docs/memory.md#residency
#pragma once

#include <deque>
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

  [[nodiscard]] bool streams() const { return ring > Bytes{}; }
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
  [[nodiscard]] bool any() const { return !units_.empty() || row_table_ != nullptr; }

  [[nodiscard]] WeightResidency whole() const;
  // As many units as `room` holds, spread over the pass.
  [[nodiscard]] WeightResidency pin(Bytes room, StreamDepth depth) const;
  [[nodiscard]] Bytes pinnable() const { return pinnable_; }  // all units

  // Room for what pin() chose: ring, rooms of the threads that pack, and rows of the embedding.
  [[nodiscard]] Bytes staging_bytes(const WeightResidency& residency, int threads) const;
  [[nodiscard]] Bytes rows_bytes() const;                               // the last of them
  [[nodiscard]] Bytes room() const { return room_; }                    // of each thread
  [[nodiscard]] int backends(const WeightResidency& residency) const {  // of I/O, besides that for loading
    return residency.whole ? 0 : (row_table_ != nullptr ? 1 : 0) + (residency.streams() ? 1 : 0);
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
  Bytes always_{};  // resident, whatever is pinned
  Bytes always_loaded_{};
  Bytes pinnable_{};
  Bytes largest_unit_{};
  Bytes room_{};
};

}  // namespace jericho
