// Attention of one token, whose positions several threads share: the sums of attention.h in five steps. Within a step
// the parts may be taken in any order and at the same time; a step begins when the one before has ended.
//   attention_logits()    a range of blocks: logit_j, and the maximum of each block
//   running_maxima()      each m', over all blocks in order
//   attention_weights()   a range of blocks: c, p_j, and the total of each block
//   running_sums()        sum, over all blocks in order
//   attention_values()    a range of columns: out, over all blocks in order
// Flash-Decoding (Dao, Haziza, Massa, Sizov 2023) splits the positions too, but scales partial outputs and adds them
// up. Here every number comes from the operations of attention(), in their order, so it has the same bits
// (docs/numerics.md 4). Where the positions come in parts, each part goes through the steps.
#pragma once

#include <cstddef>
#include <span>

#include "base/index.h"
#include "kernels/attention.h"
#include "tensor/view.h"

namespace jericho {

// What the steps leave one another; views, whose rows are the query heads of a KV head.
struct AttentionSteps {
  Index first = 0;               // the block of the first position that the token sees
  MatrixView<float> p;           // [H, 64 blocks] logits, then weights; anything where the token sees nothing
  MatrixView<float> maximum;     // [H, blocks] of the block, then m'
  MatrixView<float> correction;  // [H, blocks] c
  MatrixView<float> total;       // [H, blocks] of a block's weights
  std::span<float> state;        // [H][2] m, sum: of the part before, or -infinity and 0; then of all

  // Calls of take(heads * blocks) give the rooms that `blocks` blocks need.
  template <class Take>
  AttentionSteps(Index heads, Index first_block, Index blocks, std::span<float> before, const Take& take)
      : first(first_block),
        p(take(heads * blocks * kAttentionBlock), heads, blocks * kAttentionBlock),
        maximum(take(heads * blocks), heads, blocks),
        correction(take(heads * blocks), heads, blocks),
        total(take(heads * blocks), heads, blocks),
        state(before) {}

  // Of some of the heads.
  [[nodiscard]] AttentionSteps of_heads(Index head, Index count) const {
    AttentionSteps out = *this;
    for (const auto view :
         {&AttentionSteps::p, &AttentionSteps::maximum, &AttentionSteps::correction, &AttentionSteps::total})
      out.*view = (this->*view).rows(head, count);
    out.state = state.subspan(static_cast<std::size_t>(2 * head), static_cast<std::size_t>(2 * count));
    return out;
  }
  [[nodiscard]] Index heads() const { return p.extent(0); }
  [[nodiscard]] Index blocks() const { return maximum.extent(1); }
  // Between running_maxima() and running_sums(): m of the blocks before block i.
  [[nodiscard]] float maximum_before(Index head, Index i) const {
    return i > 0 ? maximum(head, i - 1) : state[static_cast<std::size_t>(2 * head)];
  }
  [[nodiscard]] float sum(Index head) const { return state[static_cast<std::size_t>(2 * head + 1)]; }
};

struct StepRange {  // blocks, counted from AttentionSteps::first, or columns
  Index begin = 0, end = 0;
};

// Plain code on every path: each value is one comparison, or two rounded operations.
void running_maxima(const AttentionSteps& steps);
void running_sums(const AttentionSteps& steps);

namespace ref {

// q [1, H * D] after RoPE. Of token.part.carried() the steps read and write `state` only.
void attention_logits(const KvHead& kv, const QueryTokens& token, AttentionLogits logits, MatrixView<const float> q,
                      StepRange blocks, const AttentionSteps& steps);
void attention_weights(const QueryTokens& token, StepRange blocks, const AttentionSteps& steps);
// Those columns of each head's values: they begin at a multiple of 32, or are the sixteen behind one of 16. out [1, H *
// columns of values].
void attention_values(const KvHead& kv, const QueryTokens& token, StepRange columns, const AttentionSteps& steps,
                      MatrixView<float> out);

}  // namespace ref
}  // namespace jericho
