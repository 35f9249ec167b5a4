// Which positions each KV head keeps when most are dropped for good: those that queries attend to most. A query at
// place t, [D] after RoPE, gives each stored position j <= t its weight in full precision over the stored keys:
//   s[j] = one fma chain over D from +0; capped where the family caps; p[j] by kernels/attention_rows.h; w[j] = p[j] /
//   sum
// and the votes of a KV head add up query by query, in order, and for each over its heads, in order.
//   h2o     every token of the text votes (Zhang et al. 2023, arXiv:2306.14048, section 4 and algorithm 1); kept are
//           the newest N - N/2 and the N/2 others with most votes. What is dropped takes its votes with it
//   snapkv  the last W tokens of a prompt vote when it has ended (Li et al. 2024, arXiv:2404.14469, section 4); a
//           position counts the votes of 5 neighbours, two to each side; kept are those W and the N - W others with
//           most
// The earlier one of equals; a NaN counts as infinity. What stays moves up in the pages, in order, as it is stored:
// place i of a head holds the i-th position it kept, so pages get free and attention is the usual one over fewer of
// them. Layers that do not select keep the newest N. The bits depend on the tokens and on where prompts end, never on
// threads or chunks. Differs from H2O: dropped is a block of 64 at once, not a position a token; all prompts vote, none
// is dropped while it is read. From SnapKV: a KV head's query heads vote together; a later prompt of the same sequence
// ends in the same way. Start at KvVotes::drop().
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
#include "ops/selected_attention.h"
#include "tensor/view.h"

namespace jericho {

// The votes of a session's sequences. One thread calls, the pool works.
class KvVotes {
 public:
  // `memory` has bytes(shape).
  KvVotes(SelectionShape shape, std::span<std::byte> memory);
  static Bytes bytes(const SelectionShape& shape);

  [[nodiscard]] const KvSelect& select() const { return shape_.select; }

  // Sequence i of the batches to come is number sequences[i] of the session.
  void begin_step(std::span<const std::int32_t> sequences);

  // The rows' queries q [T, H D], rotated; their keys are stored.
  void note_queries(const Context& context, Index layer, std::span<const BatchRow> rows, MatrixView<const float> q,
                    KvPages pages);

  // Of `stored` positions, more than select().tokens, the newest of which is the last of `length` tokens, leaves those.
  void drop(const Context& context, std::int32_t number, Index length, Index stored, std::span<std::byte* const> pages);

  // Of h2o: by place.
  [[nodiscard]] std::span<float> votes(Index layer, std::int32_t number, Index head) const;

 private:
  struct Ranked {
    float votes;
    std::int32_t place;
  };
  struct Room {
    std::span<float> votes;          // h2o: [sequences][selecting layers][kv_heads][context]
    std::span<float> queries;        // snapkv: [sequences][selecting layers][window][heads * D], position mod window
    std::span<float> keys;           // [threads][block][D]
    std::span<std::uint32_t> cells;  // of those as the right side of a product
    std::span<float> scores;         // [threads][wave][places]
    std::span<float> weights;        // [threads][group][wave][places]
    std::span<float> sums;           // [threads][2][group][wave]
    std::span<float> window;         // snapkv: [threads][places] the votes of a window
    std::span<Ranked> ranked;        // [threads][places]
    template <class S>
    static Room take(S& scratch, const SelectionShape& shape);
  };
  struct Head {  // of a sequence
    Index layer = 0;
    Index head = 0;
    std::span<std::byte* const> pages{};
  };
  [[nodiscard]] Index group() const { return shape_.heads / shape_.kv.kv_heads; }
  [[nodiscard]] Index places() const { return shape_.blocks() * kAttentionBlock; }
  [[nodiscard]] Index slot(Index layer, std::int32_t number) const;
  [[nodiscard]] MatrixView<float> queries(Index layer, std::int32_t number) const;
  // Adds to `votes` the weights of rows of queries [R, group * D], the first of which is at `place`.
  void add_weights(const Context& context, const Head& at, MatrixView<const float> q, Index place,
                   std::span<float> votes, int worker) const;
  void score(const Context& context, const Head& at, MatrixView<const float> q, Index place, int worker) const;
  [[nodiscard]] std::span<const Ranked> elect(std::span<const float> votes, Index candidates, int worker) const;
  void move(const Head& at, Index place, Index to) const;

  SelectionShape shape_;
  std::vector<Index> slot_of_layer_;  // -1: does not select
  Index selecting_ = 0;
  Room room_;
  std::vector<std::int32_t> numbers_;
};

}  // namespace jericho
