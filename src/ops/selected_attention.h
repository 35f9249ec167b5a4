// Attention that reads a part of the stored keys and values (ops/kv_select.h). Quest: of every whole block of 64
// positions are kept, per layer and KV head, the least and the largest value of each column of its keys, as they are
// stored. They bound what the block can give a query:
//   promise(q, block) = sum over d of max(q_d least_d, q_d largest_d)  >=  q.k_j for every j of the block
//   lane (d mod 16) += max of the two rounded products, the tree of docs/numerics.md 2; a NaN counts as infinity
// A token's heads of a KV head read the same blocks: its own, the one before, the first, and those with the largest
// promise to any of them, the earlier one of equals. They are visited in order, as if no others were there, by the sums
// of docs/numerics.md 4. Streaming: two parts, the sinks and the window, between which the softmax is carried.
// What a token reads depends on it and on what is stored before it, never on how it was batched.
// Differs from Quest: blocks are those of attention, not pages of 16, and the selection is per KV head, not per query
// head. Start at selected_attention().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "ops/kv_select.h"
#include "ops/paged_attention.h"
#include "ops/tiered_attention.h"
#include "tensor/view.h"

namespace jericho {

struct SelectionShape {
  KvSelect select{};
  KvLayout kv{};
  Index heads = 0;             // of a query
  AttentionLogits logits{};    // where queries vote
  Index angles = 0;            // of streaming: cosines that a position takes, of all kinds of RoPE
  std::vector<bool> layers{};  // of kv: which select
  Index sequences = 0, context = 0;
  Index rows = 0;  // of a batch
  int threads = 1;

  [[nodiscard]] Index blocks() const { return ceil_div(context, kAttentionBlock); }
};

// What selecting keeps for a session's sequences, and where it works. One thread calls, the pool works.
class KvSelection {
 public:
  // `memory` has bytes(shape).
  KvSelection(SelectionShape shape, std::span<std::byte> memory);
  static Bytes bytes(const SelectionShape& shape);

  [[nodiscard]] const KvSelect& select() const { return shape_.select; }
  [[nodiscard]] bool selects(Index layer) const { return shape_.layers[static_cast<std::size_t>(layer)]; }

  // Sequence i of the batches to come is number sequences[i] of the session.
  void begin_step(std::span<const std::int32_t> sequences);

  // The bounds of the blocks that these rows complete; their keys are stored.
  void note_keys(const Context& context, Index layer, std::span<const BatchRow> rows, KvPages pages);
  // Those of a whole block of the session's sequence `number`, of every layer that selects.
  void note_block(const Context& context, std::int32_t number, Index block, std::span<std::byte* const> pages);

  // Of quest: the blocks that the query heads of a KV head read together, ascending; `out` has room for
  // select().blocks(). `q` [group, D] after RoPE.
  std::span<std::int32_t> choose(Index layer, BatchRow row, Index head, MatrixView<const float> q, int worker,
                                 std::span<std::int32_t> out) const;
  [[nodiscard]] MatrixView<float> bounds(Index layer, std::int32_t number, Index head, Index block) const;  // [2, D]

  // Of streaming: where a batch's queries for the sinks go, and the angles of the position from which they look at
  // them.
  [[nodiscard]] MatrixView<float> sink_queries(Index rows) const;
  [[nodiscard]] std::span<float> sink_angles() const { return room_.angles; }

 private:
  friend class SelectedAttention;
  struct Ranked {
    float promise;
    std::int32_t block;
  };
  struct Room {
    std::span<float> bounds;
    std::span<Ranked> ranked;               // [threads][blocks]
    std::span<const std::byte*> table;      // [threads][pages that are read]
    std::span<std::int32_t> chosen;         // [wave][kv_heads][blocks that are read]
    std::span<std::int32_t> chosen_counts;  // [wave][kv_heads]
    std::span<std::uint8_t> wanted;         // [blocks]
    std::span<Index> positions;             // [blocks]
    std::span<float> carried;               // [rows][2 heads]
    std::span<float> queries;               // [rows][heads * D] rotated for the sinks
    std::span<float> angles;                // cosines, then sines, of the position that sinks see
    template <class S>
    static Room take(S& scratch, const SelectionShape& shape);
  };
  void note(Index layer, std::int32_t number, Index block, std::span<std::byte* const> pages, Index head) const;

  SelectionShape shape_;
  std::vector<Index> slot_of_layer_;  // in the bounds
  Room room_;
  std::vector<std::int32_t> numbers_;
};

// As tiered_attention(), for a layer that selects. `sink_q` are the queries as the sinks see them, looked at where
// streaming.
void selected_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                        std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<const float> sink_q,
                        KvPages pages, ColdPages* cold, KvSelection& selection, MatrixView<float> out);

}  // namespace jericho
