// Brings the weights that are not in memory, in every forward pass again: a thread reads units from the model file ahead of
// their use (memory/stream_reader.h), packs them into a ring, and goes on into the next pass while the caller samples. What
// is kept and what is streamed is the planner's choice (weight_units.h); nothing else is cached, since a loop over all
// weights would find nothing of it again (memory/pinned_set.h). Start at use(); run() is the thread.
//                                                                                     Details: docs/memory.md#residency
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "formats/model_file.h"
#include "memory/arena.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/staging_ring.h"
#include "memory/stream_reader.h"
#include "models/embedding_rows.h"
#include "models/weight_units.h"

namespace jericho {

// One pass at a time; a pass is one thread's.
class WeightStream {
 public:
  // `views` of the layout's placements, null where it is not a matrix; those of units are bound while they are in use.
  // `layout` and `file` outlive the stream; `staging` has units.staging_bytes(). A backend is made for each thread that
  // reads.
  WeightStream(const ModelConfig& config, const WeightLayout& layout, const ModelFile& file, WeightResidency residency,
               std::vector<PackedMatrix*> views, Arena staging, const MakeIo& make_io, CpuPath path);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  [[nodiscard]] const WeightUnits& units() const { return units_; }
  // Says where a pinned piece of the head lies.
  void set_head(std::size_t piece, const std::byte* data) { head_[piece].matrix.data = data; }

  // A pass begins; without the head where no logits are wanted.
  void begin(bool with_head);
  // Binds the views of the group's units, waiting for those that are on their way, and gives up those of the group before.
  // Groups come in ascending order, none with units is left out. Throws what reading them threw, with the tensor's name:
  // Error(kIo), Error(kInput); the pass is then to be abandoned.
  void use(Index group);
  void end();      // every group was used
  void abandon();  // the next pass starts afresh; also after an error

  [[nodiscard]] EmbeddingRows* rows() { return rows_ ? &*rows_ : nullptr; }
  struct HeadPiece {
    PackedMatrix matrix{};
    Index first = 0;
  };
  // Empty where the head is not cut, since it never streams.
  [[nodiscard]] const std::vector<HeadPiece>& head() const { return head_; }

 private:
  struct Coming {  // ranges are enqueued; not yet all packed
    std::size_t unit = 0;
    std::optional<Bytes> place{};
    Index row = 0;  // of the next chunk
  };
  struct Packed {
    std::size_t unit = 0;
    Bytes place{};
  };

  void run();
  [[nodiscard]] std::optional<std::size_t> next_unit();
  void announce_ahead();
  void pack_chunk(Coming& coming);
  void start_reader();
  void bind(const Packed& packed);
  HeadPiece& head_piece(const WeightUnit& unit) {
    return head_[static_cast<std::size_t>(unit.group - units_.first_head_group())];
  }
  void give_up_held();

  const WeightUnits units_;
  const WeightResidency residency_;
  std::vector<PackedMatrix*> views_;
  std::vector<HeadPiece> head_;
  Arena staging_;
  std::vector<File> files_;
  std::unique_ptr<IoBackend> io_;
  CpuPath path_;
  std::optional<EmbeddingRows> rows_;
  std::vector<std::size_t> order_;                // streamed units
  std::size_t head_begins_ = 0;                   // in order_
  std::vector<std::vector<std::size_t>> groups_;  // streamed units of each

  // Of the thread alone.
  std::optional<StreamReader> reader_;
  std::deque<Coming> coming_;

  std::mutex mutex_;                 // guards what follows
  std::condition_variable wake_;     // the thread: there is room, a pass, an end
  std::condition_variable changed_;  // the caller: a unit is packed, or failed
  StagingRing ring_;
  std::deque<Packed> packed_;  // waiting for their use
  std::vector<std::size_t> held_;
  std::optional<Error> failure_;
  std::stop_source interrupt_;  // of the reads in progress
  Index begun_ = 0;             // passes
  bool in_pass_ = false;
  bool with_head_ = false;  // of the pass that began last
  Index next_pass_ = 0;     // of the unit that is announced next: at most one pass ahead
  std::size_t next_in_order_ = 0;
  bool abandoned_ = false;
  bool stopping_ = false;

  std::thread thread_;  // where anything streams
};

}  // namespace jericho
