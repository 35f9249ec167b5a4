// Rows x KV heads over the pool: see paged_attention.h.
#include "ops/paged_attention.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "kernels/rope.h"

namespace jericho {
namespace {

constexpr Index kHeadsPerPart = 16;  // of query heads that share a KV head: one alone may have more than threads

}  // namespace

Bytes KvLayout::bytes_per_token() const {
  Index per_head = 0;
  switch (type) {
    case KvType::kF32: per_head = 4 * head_dim; break;
    case KvType::kF16:
    case KvType::kBF16: per_head = 2 * head_dim; break;
    case KvType::kQ8: per_head = head_dim + 2 * kv_groups(head_dim); break;
  }
  return {tiles_per_head() * layers * kv_heads * per_head};
}

void store_kv(const Context& context, const KvLayout& layout, Index layer, std::span<const BatchRow> rows,
              MatrixView<const float> keys, MatrixView<const float> values, KvPages pages) {
  const auto store = [&](Index t, int) {
    const BatchRow row = rows[static_cast<std::size_t>(t)];
    const auto sequence = pages[static_cast<std::size_t>(row.sequence)];
    const auto page_index = static_cast<std::size_t>(row.position / kPageTokens);
    JERICHO_CHECK(page_index < sequence.size(), "position {} has no page", row.position);
    std::byte* page = sequence[page_index];
    for (Index head = 0; head < layout.kv_heads; ++head) {
      const Index slot = row.position % kPageTokens;
      context.kernels.kv_store(layout.type, &keys(t, head * layout.head_dim), layout.head_dim, slot,
                               page + layout.key_offset(layer, head).count);
      if (layout.latent_columns > 0) continue;
      context.kernels.kv_store(layout.type, &values(t, head * layout.head_dim), layout.head_dim, slot,
                               page + layout.value_offset(layer, head).count);
    }
  };
  context.pool.run(static_cast<Index>(rows.size()), std::ref(store));
}

void paged_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                     std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, MatrixView<float> out) {
  const Index D = layout.head_dim;
  const Index V = layout.value_dim();
  const Index group = shape.heads / layout.kv_heads;  // query heads that share a KV head
  const Index parts_per_head = ceil_div(group, kHeadsPerPart);
  const auto attend = [&](Index part, int) {
    const Index t = part / (layout.kv_heads * parts_per_head);
    const Index head = part / parts_per_head % layout.kv_heads;
    const Index first = part % parts_per_head * kHeadsPerPart;  // of the group
    const Index count = std::min(kHeadsPerPart, group - first);
    const BatchRow row = rows[static_cast<std::size_t>(t)];
    const auto sequence = pages[static_cast<std::size_t>(row.sequence)];
    const KvHead kv{layout.type,
                    D,
                    {sequence.data(), sequence.size()},
                    layout.key_offset(layer, head),
                    layout.value_offset(layer, head)};
    const Index end = row.position + 1;
    const Index begin = shape.window > 0 ? std::max<Index>(0, end - shape.window) : 0;
    context.kernels.attention(kv, {&q(t, (head * group + first) * D), count, D}, begin, end, shape.logits,
                              {&out(t, (head * group + first) * V), count, V});
  };
  context.pool.run(static_cast<Index>(rows.size()) * layout.kv_heads * parts_per_head, std::ref(attend));
}

void rope(const Context& context, MatrixView<float> x, Index head_dim, MatrixView<const float> cos,
          MatrixView<const float> sin, Index first) {
  const auto rotate = [&](Index t, int) {
    for (Index c = 0; c < x.extent(1); c += head_dim) {
      rope({&x(t, c + first), static_cast<std::size_t>(head_dim - first)}, cos.row(t), sin.row(t));
    }
  };
  context.pool.run(x.extent(0), std::ref(rotate));
}

}  // namespace jericho
