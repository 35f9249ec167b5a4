// Rows x heads over the pool: see paged_attention.h.
#include "ops/paged_attention.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/rope.h"

namespace jericho {
namespace {

constexpr Index kRowsPerPart = 32;    // tokens x heads that share the loads of keys and values
constexpr Index kPartsPerThread = 4;  // so that an unlucky thread does not hold up the rest

// How a batch is cut: `tokens` rows of it with `heads` of a group of query heads make a part. As large as sharing the
// loads asks for, but no larger than leaves every thread its share: then a group is cut, and its parts read the same
// keys from the cache.
struct Cut {
  Index rows, kv_heads, group;  // of the batch and the shape
  Index tokens, heads;          // of a part

  Cut(Index rows_in, Index kv_heads_in, Index group_in, Index threads)
      : rows(rows_in), kv_heads(kv_heads_in), group(group_in), heads(std::min(group_in, kRowsPerPart / 2)) {
    tokens = std::min(rows, kRowsPerPart / heads);
    const auto balanced = [&] { return parts() >= kPartsPerThread * threads || parts() % threads == 0; };
    while (!balanced() && tokens > 1) tokens = ceil_div(tokens, 2);
    while (!balanced() && heads > 1) heads = ceil_div(heads, 2);
  }
  [[nodiscard]] Index head_parts() const { return ceil_div(group, heads); }
  [[nodiscard]] Index parts() const { return ceil_div(rows, tokens) * kv_heads * head_parts(); }
};

// The end of the run of consecutive positions of one sequence that begins at `first`, before `limit`.
Index end_of_run(std::span<const BatchRow> rows, Index first, Index limit) {
  const auto at = [&](Index t) { return rows[static_cast<std::size_t>(t)]; };
  Index end = first + 1;
  while (end < limit && at(end).sequence == at(first).sequence && at(end).position == at(end - 1).position + 1) ++end;
  return end;
}

}  // namespace

Bytes KvLayout::bytes_per_token() const {
  const Bytes value = latent_columns > 0 ? 0_B : kv_row_bytes(type.values, head_dim);
  return (kv_row_bytes(type.keys, head_dim) + value) * (layers * kv_heads);
}

void store_kv(const Context& context, const KvLayout& layout, Index layer, std::span<const BatchRow> rows,
              MatrixView<const float> keys, MatrixView<const float> values, KvPages pages,
              FunctionRef<void(Index t)> make) {
  const auto store = [&](Index t, int) {
    make(t);
    const BatchRow row = rows[static_cast<std::size_t>(t)];
    const auto sequence = pages[static_cast<std::size_t>(row.sequence)];
    const auto page_index = static_cast<std::size_t>(row.position / kPageTokens);
    JERICHO_CHECK(page_index < sequence.size(), "position {} has no page", row.position);
    std::byte* page = sequence[page_index];
    for (Index head = 0; head < layout.kv_heads; ++head) {
      const Index slot = row.position % kPageTokens;
      context.kernels.kv_store(layout.type.keys, &keys(t, head * layout.head_dim), layout.head_dim, slot,
                               page + layout.key_offset(layer, head).count);
      if (layout.latent_columns > 0) continue;
      context.kernels.kv_store(layout.type.values, &values(t, head * layout.head_dim), layout.head_dim, slot,
                               page + layout.value_offset(layer, head).count);
    }
  };
  context.pool.run(static_cast<Index>(rows.size()), store);
}

void paged_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                     std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, MatrixView<float> out,
                     const AttentionPart& part) {
  const Index D = layout.head_dim, V = layout.value_dim();
  const Cut cut(static_cast<Index>(rows.size()), layout.kv_heads, shape.heads / layout.kv_heads,
                context.pool.threads());
  const auto attend = [&](Index piece, int) {
    piece = cut.parts() - 1 - piece;  // the last tokens of a prompt have the longest way: they come first
    const Index head = piece / cut.head_parts() % cut.kv_heads;
    const Index first = piece % cut.head_parts() * cut.heads;  // of the group
    const Index count = std::min(cut.heads, cut.group - first), query = head * cut.group + first;
    const Index begin = piece / (cut.kv_heads * cut.head_parts()) * cut.tokens;
    const Index limit = std::min(begin + cut.tokens, cut.rows);
    for (Index t = begin, end = begin; t < limit; t = end) {
      end = end_of_run(rows, t, limit);
      const BatchRow row = rows[static_cast<std::size_t>(t)];
      const auto sequence = pages[static_cast<std::size_t>(row.sequence)];
      const KvHead kv{layout.type,
                      D,
                      {sequence.data(), sequence.size()},
                      layout.key_offset(layer, head),
                      layout.value_offset(layer, head)};
      AttentionPart own = part;
      if (part.carried.data() != nullptr) own.carried = part.carried.rows(t, end - t).cols(2 * query, 2 * count);
      context.kernels.attention(kv, {row.position, shape.window, count, own}, shape.logits,
                                q.rows(t, end - t).cols(query * D, count * D),
                                out.rows(t, end - t).cols(query * V, count * V));
    }
  };
  context.pool.run(cut.parts(), attend);
}

void rope(std::span<float> row, Index head_dim, std::span<const float> cos, std::span<const float> sin, Index first) {
  for (Index c = first; c < std::ssize(row); c += head_dim) {
    rope(row.subspan(static_cast<std::size_t>(c), static_cast<std::size_t>(head_dim - first)), cos, sin);
  }
}

}  // namespace jericho
