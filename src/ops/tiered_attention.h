// Attention over keys and values of which only the newest lie in RAM: the older pages of a sequence pass through it a
// window at a time, while maximum, sum and output are carried from one to the next (kernels/attention.h), so that the
// result has the bits of paged_attention() over all of them. Start at tiered_attention(); engine/cold_kv.h reads the
// windows.
#pragma once

#include <cstdint>
#include <span>

#include "base/index.h"
#include "ops/context.h"
#include "ops/paged_attention.h"
#include "tensor/view.h"

namespace jericho {

// The pages of a batch's sequences that are not in RAM.
class ColdPages {
 public:
  ColdPages() = default;
  ColdPages(const ColdPages&) = delete;
  ColdPages& operator=(const ColdPages&) = delete;
  virtual ~ColdPages() = default;

  struct Window {
    Index from = 0, to = 0;  // positions, multiples of kAttentionBlock
    const KvLayout& layout;  // of pages that hold one layer
    KvPages pages;           // of all sequences; only those of the window are there
  };
  // Positions of `sequence`, an index into the batch, below this one are not in RAM.
  [[nodiscard]] virtual Index end(std::int32_t sequence) const = 0;
  // The window of a layer with this position, valid until the next call. Error(kIo) when it cannot be read.
  virtual Window read(Index layer, std::int32_t sequence, Index position) = 0;
  // The positions of a layer that will be read next, in this order, where that was not known when the step began: a
  // selection. No window is in use.
  virtual void announce(Index layer, std::int32_t sequence, std::span<const Index> positions) = 0;
  // Room for what is carried between windows.
  [[nodiscard]] virtual MatrixView<float> carried(Index rows, Index cols) = 0;
};

// As paged_attention(), with its `spare`; `cold` is null when all pages are in RAM. Rows of one sequence follow one
// another, by position.
void tiered_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                      std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, ColdPages* cold,
                      MatrixView<float> out, Scratch* spare = nullptr);

}  // namespace jericho
