// The keys and values of a session that have no place in RAM. The oldest pages of a sequence go to a scratch file, a
// group of pages in one slot, its layers one behind the other, so that a block of the file is what attention of one
// layer wants:
//   slot:  layer 0: page 0 | page 1 | ...   layer 1: page 0 | ...       each layer padded to a block
// In a step, attention asks for the groups of layer 0, then of layer 1, ...: the order is known when the step begins,
// so a ring of blocks is read ahead of it (docs/memory.md#contexts-larger-than-ram). Start at store() and begin_step().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/index.h"
#include "memory/arena.h"
#include "memory/scratch_file.h"
#include "models/config.h"
#include "ops/tiered_attention.h"
#include "plan/plan.h"

namespace jericho {

// One thread, but for the windows, which any number of threads may read until the next call.
class ColdKv final : public ColdPages {
 public:
  // `ring` has plan.cold.ring_bytes(); `file` is of plan.cold.scratch. `config` and `pool` outlive it.
  ColdKv(const ModelConfig& config, const Plan& plan, ThreadPool& pool, Arena ring, std::unique_ptr<ScratchFile> file);
  ~ColdKv() override;

  [[nodiscard]] Index group_pages() const { return plan_.group_pages; }
  [[nodiscard]] Index pages(Index sequence) const;  // of a sequence that are cold: its first ones

  // Takes over the next group of a sequence, whose pages are complete; they are free when this returns. False when the
  // file has no slot. Error(kIo) when a write failed.
  bool store(Index sequence, std::span<std::byte* const> group);
  // Begins to write a layer of the group that store() is likely to be given next, so that it then has less to wait for.
  // When attention of a step has ended. Does not fail, and waits for nothing but a write of another sequence's group,
  // which it gives up: what does not succeed is store()'s to write again.
  void write_behind(Index sequence, std::span<std::byte* const> group);
  [[nodiscard]] std::optional<Index> behind() const;  // the sequence whose group is written so
  // Keeps the pages behind the cold ones, a group at most, until unpark() puts them back.
  bool park(Index sequence, std::span<std::byte* const> pages);
  void unpark(Index sequence, std::span<std::byte* const> pages);
  void forget(Index sequence);  // all that is here of it

  struct Reader {  // an item of the batch
    Index sequence = 0;
    Index position = 0;  // of its first row
    Index rows = 0;
  };
  // Says who will read in this step, in order of the batch, and starts to; null when all their pages are in RAM.
  ColdPages* begin_step(std::span<const Reader> readers);
  // Reads ahead for a step of the same readers: what is wrong about it is dropped by the next begin_step().
  void end_step();

  [[nodiscard]] Index end(std::int32_t sequence) const override;
  Window read(Index layer, std::int32_t sequence, Index position) override;
  void announce(Index layer, std::int32_t sequence, std::span<const Index> positions) override;
  [[nodiscard]] MatrixView<float> carried(Index rows, Index cols) override;

  [[nodiscard]] Bytes step_bytes() const;  // that the current step reads
  struct BehindCounts {
    Index layers = 0;    // of groups that were begun, so far
    Index given_up = 0;  // groups
  };
  [[nodiscard]] const BehindCounts& behind_counts() const { return behind_counts_; }
  [[nodiscard]] double bytes_per_second() const;  // of writing groups, as measured; 0: not yet
  [[nodiscard]] const ScratchFile& file() const { return *file_; }

 private:
  struct Visit {  // one block that attention will ask for
    std::int32_t reader = 0;
    std::int32_t layer = 0;
    Index group = 0;
    ScratchFile::Slot slot = 0;
    bool operator==(const Visit&) const = default;
  };
  struct Place {  // a block of the ring
    std::optional<ScratchFile::Ticket> ticket{};
  };
  struct Held {  // of a sequence
    std::vector<ScratchFile::Slot> groups{};
    std::optional<ScratchFile::Slot> parked{};
  };

  struct Behind {  // a group that is written before it must leave
    Index sequence = 0;
    ScratchFile::Slot slot = 0;
    Index layers = 0;  // that are written or on their way
    std::optional<ScratchFile::Ticket> ticket{};
  };

  [[nodiscard]] Index group_tokens() const { return plan_.group_pages * kPageTokens; }
  [[nodiscard]] std::span<std::byte> block(std::size_t place) const;
  void list_visits();
  void read_ahead();
  void drop_reads();
  void settle(std::size_t place);
  // Looks at what has come, a block per thread, once the block in `place` is among it.
  void verify_arrived(std::size_t place);
  void settle_all();
  void fill(std::span<std::byte> block, std::span<std::byte* const> pages, Index layer) const;
  std::optional<ScratchFile::Slot> write(std::span<std::byte* const> pages);
  void write_layers(ScratchFile::Slot slot, Index first, std::span<std::byte* const> pages);
  // Waits for the write behind, if there is one; whether all is well.
  bool settle_behind();
  void drop_behind();

  const ModelConfig& config_;
  KvLayout layout_;  // of whole pages
  KvLayout layer_;   // of one layer's part
  ColdPlan plan_;
  ThreadPool& pool_;
  Arena ring_;
  std::unique_ptr<ScratchFile> file_;
  std::vector<Held> held_;  // by sequence
  std::vector<Reader> readers_;
  std::vector<Visit> visits_;
  bool selects_ = false;     // what a step reads is known only as it goes on
  Index step_visits_ = 0;    // that the step has asked for so far
  std::size_t taken_ = 0;    // of visits_: read by attention
  std::size_t started_ = 0;  // of visits_: being read, visit v in place v % ring
  std::vector<Place> ring_places_;
  std::vector<ScratchFile::Ticket> arrived_;
  std::optional<Behind> behind_;
  BehindCounts behind_counts_;
  double write_seconds_ = 0;  // of writes that were waited for
  Bytes waited_for_{};
  std::vector<std::byte*> table_;  // pages of the current window, by position
  std::vector<std::span<std::byte* const>> tables_;
};

}  // namespace jericho
