// Brings the weights that are not in memory, in every forward pass again: units are read from the model file ahead of
// their use into a ring, where they are packed when their turn comes (unit_reader.h), and reading goes on into the next
// pass while the caller samples. What is kept and what is streamed is the planner's choice (weight_units.h); nothing
// else is cached, since a loop over all weights would find nothing of it again (memory/pinned_set.h). Start at use().
//                                                                                     Details: docs/memory.md#residency
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/cpu.h"
#include "formats/model_file.h"
#include "memory/arena.h"
#include "memory/staging_ring.h"
#include "models/embedding_rows.h"
#include "models/expert_store.h"
#include "models/unit_reader.h"
#include "models/weight_units.h"
#include "ops/context.h"

namespace jericho {

// One pass at a time, of one thread.
class WeightStream {
 public:
  // `views` of the layout's placements, null where it is not a matrix; those of units are bound while they are in use.
  // `layout` and `file` outlive the stream; `staging` has units.staging_bytes() for the threads of the contexts to
  // come. A backend is made for units and one for rows. `expert_slots` has units.slots_bytes().
  WeightStream(const ModelConfig& config, const WeightLayout& layout, const ModelFile& file, WeightResidency residency,
               std::vector<PackedMatrix*> views, Arena staging, Arena expert_slots, const MakeIo& make_io,
               CpuPath path);
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  [[nodiscard]] const WeightUnits& units() const { return units_; }
  // Says where a pinned piece of the head lies.
  void set_head(std::size_t piece, const std::byte* data) { head_[piece].matrix.data = data; }

  // A pass begins; without the head where no logits are wanted.
  void begin(Index tokens, bool with_head);
  // Binds the views of the group's units, waiting for those that are on their way and packing them on the context's
  // threads, and gives up those of the group before. Groups come in ascending order, none with units is left out.
  // Throws what reading them threw, with the tensor's name: Error(kIo), Error(kInput); the pass is then to be
  // abandoned.
  void use(const Context& context, Index group);
  void end();      // every group was used
  void abandon();  // the next pass starts afresh; also after an error

  // Of what only saves reading: slots of experts (ExpertStore::give_back()). Between two passes.
  Bytes give_back(Bytes wanted);

  [[nodiscard]] ExpertStore* experts() { return experts_ ? &*experts_ : nullptr; }  // null: all are in memory
  [[nodiscard]] EmbeddingRows* rows() { return rows_ ? &*rows_ : nullptr; }
  struct HeadPiece {
    PackedMatrix matrix{};
    Index first = 0;
  };
  // Empty where the head is not cut, since it never streams.
  [[nodiscard]] const std::vector<HeadPiece>& head() const { return head_; }

 private:
  struct Coming {  // that is on its way
    std::size_t unit = 0;
    UnitReader::Unit read{};
  };

  [[nodiscard]] std::optional<std::size_t> next_unit();
  void read_ahead();
  void bind(std::size_t unit, const std::byte* data);
  HeadPiece& head_piece(const WeightUnit& unit) {
    return head_[static_cast<std::size_t>(unit.group - units_.first_head_group())];
  }
  void give_up_held();

  const WeightUnits units_;
  const WeightResidency residency_;
  std::vector<PackedMatrix*> views_;
  std::vector<HeadPiece> head_;
  Arena staging_, expert_slots_;  // outlive the readers
  StagingRing ring_;
  std::optional<EmbeddingRows> rows_;
  std::optional<UnitReader> reader_;  // where anything streams
  std::optional<ExpertStore> experts_;
  std::vector<std::size_t> order_;                // streamed units
  std::size_t head_begins_ = 0;                   // in order_
  std::vector<std::vector<std::size_t>> groups_;  // streamed units of each

  std::deque<Coming> coming_;
  std::vector<std::size_t> held_;
  std::optional<std::size_t> announced_;  // the unit to be read once the ring has room
  Index begun_ = 0;                       // passes
  bool in_pass_ = false;
  bool with_head_ = false;  // of the pass that began last
  Index next_pass_ = 0;     // of the unit that is announced next: at most one pass ahead
  std::size_t next_in_order_ = 0;
};

}  // namespace jericho
