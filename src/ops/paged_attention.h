// Attention of a batch of rows, each a token of some sequence at some position, over that sequence's KV pages:
// store_kv() writes keys and values in their page's form, rotated by rope() on the way, paged_attention() attends. A
// row sees its own position and those before it, down to the window, in stored form only, so that chunked prefill and
// single steps give the same bits (docs/numerics.md 4). Keys per channel have two stored forms
// (kernels/channel_keys.h): those of the newest blocks lie on pages of their own as f16, and a block's codes are made
// from them by the row that completes it. Start at paged_attention().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "base/index.h"
#include "kernels/attention.h"
#include "kernels/kv_tile.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

// Where a KV head's tiles lie in a page: [layer][K then V][kv_head], each tile on a cache line, the page padded to 4096
// bytes so that it is a unit of direct I/O (specs of a page are in kernels/kv_tile.h). A latent cache keeps no tiles of
// values: they are the first columns of the keys, [layer][kv_head].
struct KvLayout {
  KvTypes type{};
  Index layers = 0;
  Index kv_heads = 0;
  Index head_dim = 0;        // of a key
  Index latent_columns = 0;  // of a key that are the value too; 0: values are head_dim wide and have tiles of their own
  bool rotated = false;      // keys and values are stored as their Hadamard transforms (ops/hadamard.h)

  [[nodiscard]] Index value_dim() const { return latent_columns > 0 ? latent_columns : head_dim; }
  [[nodiscard]] Bytes key_tile() const { return kv_tile_bytes(type.keys, head_dim); }
  [[nodiscard]] Bytes value_tile() const { return latent_columns > 0 ? 0_B : kv_tile_bytes(type.values, head_dim); }
  [[nodiscard]] Bytes layer_bytes() const { return (key_tile() + value_tile()) * kv_heads; }
  [[nodiscard]] Bytes key_offset(Index layer, Index head) const { return layer_bytes() * layer + key_tile() * head; }
  [[nodiscard]] Bytes value_offset(Index layer, Index head) const {
    if (latent_columns > 0) return key_offset(layer, head);
    return layer_bytes() * layer + key_tile() * kv_heads + value_tile() * head;
  }
  [[nodiscard]] Bytes page_bytes() const { return round_up(layer_bytes() * layers, Bytes{4096}); }
  // Of keys per channel: a page of those that are seen in full, [layer][kv_head] of f16 tiles. Else there are none.
  [[nodiscard]] bool has_full_keys() const { return layers > 0 && type.keys == KvType::kQ4C; }
  [[nodiscard]] Bytes full_key_offset(Index layer, Index head) const {
    return kv_tile_bytes(KvType::kF16, head_dim) * (layer * kv_heads + head);
  }
  [[nodiscard]] Bytes full_page_bytes() const { return has_full_keys() ? full_key_offset(layers, 0) : 0_B; }
  // What one token needs, without padding of tiles and pages: for people and for the formulas.
  [[nodiscard]] Bytes bytes_per_token() const;
};

struct BatchRow {
  std::int32_t sequence = 0;  // index into KvPages
  Index position = 0;
  bool selects = false;  // reads only what a selection leaves it, where there is one (ops/selected_attention.h)
  Index skipped = 0;     // earlier positions that are stored no more (ops/kv_votes.h); RoPE counts them too
};

// Of each sequence, its pages in order of position; the pages that hold the rows' own positions are writable.
struct KvPages : std::span<const std::span<std::byte* const>> {
  using PerSequence = std::span<const std::span<std::byte* const>>;
  using PerSequence::span;
  // Of keys per channel, pages of f16 keys likewise, as far back as the batch's first rows see them so.
  PerSequence full_keys{};
};

struct AttentionShape {
  Index heads = 0;
  Index window = 0;  // a row sees positions p - window < j <= p; 0: all
  AttentionLogits logits{};
};

// Rotates dimensions [first, first + R) of each head of one row: cos, sin [R/2] are of its position.
void rope(std::span<float> row, Index head_dim, std::span<const float> cos, std::span<const float> sin,
          Index first = 0);

// keys (rotated) and values [T, K*D] of one layer go into the pages at their rows' positions. A latent cache takes no
// values: they are not looked at. make(t) comes first, in the same go over the rows: it may still change row t's keys
// and values, and whatever else of that row is the caller's.
void store_kv(const Context& context, const KvLayout& layout, Index layer, std::span<const BatchRow> rows,
              MatrixView<const float> keys, MatrixView<const float> values, KvPages pages,
              FunctionRef<void(Index t)> make);
inline void store_kv(const Context& context, const KvLayout& layout, Index layer, std::span<const BatchRow> rows,
                     MatrixView<const float> keys, MatrixView<const float> values, KvPages pages) {
  store_kv(context, layout, layer, rows, keys, values, pages, [](Index) {});
}

// What the first of several parts finds (AttentionPart): carried [T, 2 H], out [T, H*value_dim].
void start_parts(MatrixView<float> carried, MatrixView<float> out);

// q [T, H*D] after RoPE -> out [T, H*value_dim]. Rows and heads are split over the pool; consecutive tokens of a
// sequence and the query heads of a KV head share the loads of keys and values as far as every thread still has its
// share. A part of the positions carries [T, 2 H] between calls. Where rows x heads would leave a quarter of the
// threads' time idle or more (half with values in 8 bits, three quarters in 4), the positions are split too, as far as
// `spare` has room for the logits of all of them: a step of few tokens leaves most of its scratch free.
void paged_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                     std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, MatrixView<float> out,
                     const AttentionPart& part = {}, Scratch* spare = nullptr);

}  // namespace jericho
