// Bounds, the choice of blocks, and attention over them: see selected_attention.h.
#include "ops/selected_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "kernels/lanes.h"

namespace jericho {
namespace {

constexpr Index kWave = 16;  // rows whose choices are held at once
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Index block_of(Index position) { return position / kAttentionBlock; }

float promise(const float* q, const float* least, const float* largest, Index D) {
  std::array<float, 16> lane{};
  const auto add = [&](Index d, std::size_t i) {
    const float a = q[d] * least[d], b = q[d] * largest[d];
    lane[i] += a > b ? a : b;
  };
  Index d = 0;
  for (; d + 16 <= D; d += 16) {
    for (Index i = 0; i < 16; ++i) add(d + i, static_cast<std::size_t>(i));
  }
  for (Index i = 0; d + i < D; ++i) add(d + i, static_cast<std::size_t>(i));
  const float total = sum_lanes(lane);
  return total == total ? total : kInfinity;
}

// The end of the rows from `first` on that are of one sequence and of which `same` says what it says of the first.
template <class Same>
Index end_of_run(std::span<const BatchRow> rows, Index first, const Same& same) {
  const auto at = [&](Index t) { return rows[static_cast<std::size_t>(t)]; };
  Index end = first + 1;
  while (end < std::ssize(rows) && at(end).sequence == at(first).sequence && same(at(end)) == same(at(first))) ++end;
  return end;
}

Index selecting_layers(const SelectionShape& shape) {
  return std::count(shape.layers.begin(), shape.layers.end(), true);
}

}  // namespace

template <class S>
KvSelection::Room KvSelection::Room::take(S& scratch, const SelectionShape& shape) {
  Room room;
  if (shape.select.method == KvMethod::kStreaming) {
    room.carried = scratch.template take<float>(shape.rows * 2 * shape.heads);
    room.queries = scratch.template take<float>(shape.rows * shape.heads * shape.kv.head_dim);
    room.angles = scratch.template take<float>(2 * shape.angles);
    return room;
  }
  const Index K = shape.kv.kv_heads, blocks = shape.blocks(), read = shape.select.blocks();
  room.bounds =
      scratch.template take<float>(shape.sequences * selecting_layers(shape) * K * blocks * 2 * shape.kv.head_dim);
  room.ranked = scratch.template take<Ranked>(shape.threads * blocks);
  room.table = scratch.template take<const std::byte*>(shape.threads * read * kBlockPages);
  room.chosen = scratch.template take<std::int32_t>(kWave * K * read);
  room.chosen_counts = scratch.template take<std::int32_t>(kWave * K);
  room.wanted = scratch.template take<std::uint8_t>(blocks);
  room.positions = scratch.template take<Index>(blocks);
  room.carried = scratch.template take<float>(kWave * 2 * shape.heads);
  return room;
}

KvSelection::KvSelection(SelectionShape shape, std::span<std::byte> memory) : shape_(std::move(shape)) {
  Scratch scratch(memory);
  room_ = Room::take(scratch, shape_);
  Index slot = 0;
  for (const bool selects : shape_.layers) slot_of_layer_.push_back(selects ? slot++ : -1);
}

Bytes KvSelection::bytes(const SelectionShape& shape) {
  ScratchSize size;
  Room::take(size, shape);
  return size.peak();
}

void KvSelection::begin_step(std::span<const std::int32_t> sequences) {
  numbers_.assign(sequences.begin(), sequences.end());
}

MatrixView<float> KvSelection::sink_queries(Index rows) const {
  return {room_.queries.data(), rows, shape_.heads * shape_.kv.head_dim};
}

MatrixView<float> KvSelection::bounds(Index layer, std::int32_t number, Index head, Index block) const {
  const Index layers = selecting_layers(shape_), slot = slot_of_layer_[static_cast<std::size_t>(layer)];
  const Index at = ((number * layers + slot) * shape_.kv.kv_heads + head) * shape_.blocks() + block;
  return {room_.bounds.data() + at * 2 * shape_.kv.head_dim, 2, shape_.kv.head_dim};
}

void KvSelection::note(Index layer, std::int32_t number, Index block, std::span<std::byte* const> pages,
                       Index head) const {
  const Index D = shape_.kv.head_dim;
  const MatrixView<float> limits = bounds(layer, number, head, block);
  std::array<float, kMaxKeyWidth> key;
  for (Index j = 0; j < kAttentionBlock; ++j) {
    const std::byte* page = pages[static_cast<std::size_t>(block * kBlockPages + j / kPageTokens)];
    kv_load(shape_.kv.type.keys, page + shape_.kv.key_offset(layer, head).count, D, j % kPageTokens, key.data());
    for (Index d = 0; d < D; ++d) {
      const float value = key[static_cast<std::size_t>(d)];
      if (j == 0) limits(0, d) = kInfinity, limits(1, d) = -kInfinity;
      if (value != value) limits(0, d) = -kInfinity, limits(1, d) = kInfinity;  // no bound: to be read
      if (value < limits(0, d)) limits(0, d) = value;
      if (value > limits(1, d)) limits(1, d) = value;
    }
  }
}

void KvSelection::note_keys(const Context& context, Index layer, std::span<const BatchRow> rows, KvPages pages) {
  if (shape_.select.method != KvMethod::kQuest || !selects(layer)) return;
  const Index K = shape_.kv.kv_heads;
  for (const BatchRow& row : rows) {
    if (row.position % kAttentionBlock != kAttentionBlock - 1) continue;
    const auto sequence = static_cast<std::size_t>(row.sequence);
    const auto of_head = [&](Index head, int) {
      note(layer, numbers_[sequence], block_of(row.position), pages[sequence], head);
    };
    context.pool.run(K, of_head);
  }
}

void KvSelection::note_block(const Context& context, std::int32_t number, Index block,
                             std::span<std::byte* const> pages) {
  if (shape_.select.method != KvMethod::kQuest) return;
  const Index K = shape_.kv.kv_heads;
  const auto of_head = [&](Index part, int) {
    if (selects(part / K)) note(part / K, number, block, pages, part % K);
  };
  context.pool.run(std::ssize(shape_.layers) * K, of_head);
}

std::span<std::int32_t> KvSelection::choose(Index layer, BatchRow row, Index head, MatrixView<const float> q,
                                            int worker, std::span<std::int32_t> out) const {
  const Index own = block_of(row.position), most = shape_.select.blocks(), D = shape_.kv.head_dim;
  if (own < most) {
    for (Index block = 0; block <= own; ++block)
      out[static_cast<std::size_t>(block)] = static_cast<std::int32_t>(block);
    return out.first(static_cast<std::size_t>(own + 1));
  }
  const auto blocks = static_cast<std::size_t>(shape_.blocks());
  const std::span<Ranked> ranked = room_.ranked.subspan(static_cast<std::size_t>(worker) * blocks, blocks);
  const std::int32_t number = numbers_[static_cast<std::size_t>(row.sequence)];
  std::size_t count = 0;
  for (Index block = 1; block < own - 1; ++block) {
    const MatrixView<float> limits = bounds(layer, number, head, block);
    float most_promised = -kInfinity;
    for (Index h = 0; h < q.extent(0); ++h) {
      const float promised = promise(&q(h, 0), &limits(0, 0), &limits(1, 0), D);
      if (promised > most_promised) most_promised = promised;
    }
    ranked[count++] = {most_promised, static_cast<std::int32_t>(block)};
  }
  const auto free = static_cast<std::size_t>(most - 3);
  std::nth_element(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(free),
                   ranked.begin() + static_cast<std::ptrdiff_t>(count), [](const Ranked& a, const Ranked& b) {
                     return a.promise != b.promise ? a.promise > b.promise : a.block < b.block;
                   });
  const auto chosen = out.first(static_cast<std::size_t>(most));
  for (std::size_t i = 0; i < free; ++i) chosen[i] = ranked[i].block;
  chosen[free] = 0;
  chosen[free + 1] = static_cast<std::int32_t>(own - 1);
  chosen[free + 2] = static_cast<std::int32_t>(own);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

// The rows of a batch, a part at a time.
class SelectedAttention {
 public:
  SelectedAttention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                    KvPages pages, ColdPages* cold, KvSelection& selection)
      : context_(context),
        layout_(layout),
        layer_(layer),
        shape_(shape),
        pages_(pages),
        cold_(cold),
        selection_(selection),
        room_(selection.room_),
        group_(shape.heads / layout.kv_heads),
        most_(selection.select().blocks()) {}

  // Rows that stream: the sinks, then the window.
  void stream(std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<const float> sink_q,
              MatrixView<float> out) const {
    const KvSelect& select = selection_.select();
    AttentionShape window = shape_;
    window.window = select.tokens;
    if (select.sinks == 0) return paged_attention(context_, layout_, layer_, window, rows, q, pages_, out);
    const MatrixView<float> carried(room_.carried.data(), out.extent(0), 2 * shape_.heads);
    start_parts(carried, out);
    paged_attention(context_, layout_, layer_, shape_, rows, sink_q, pages_, out, {0, select.sinks, carried, false});
    paged_attention(context_, layout_, layer_, window, rows, q, pages_, out, {.carried = carried});
  }

  // Rows of one sequence that read the blocks of most promise.
  void read_chosen(std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<float> out) const {
    for (Index first = 0; first < std::ssize(rows); first += kWave) {
      const Index count = std::min(kWave, std::ssize(rows) - first);
      read_wave(rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), q.rows(first, count),
                out.rows(first, count));
    }
  }

 private:
  [[nodiscard]] Index parts(std::span<const BatchRow> rows) const { return std::ssize(rows) * layout_.kv_heads; }
  [[nodiscard]] std::span<std::int32_t> chosen(Index part) const {
    return room_.chosen.subspan(static_cast<std::size_t>(part * most_),
                                static_cast<std::size_t>(room_.chosen_counts[static_cast<std::size_t>(part)]));
  }

  void read_wave(std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<float> out) const {
    const Index D = layout_.head_dim, K = layout_.kv_heads;
    const auto choose = [&](Index part, int worker) {
      const Index t = part / K, head = part % K;
      const MatrixView<const float> own(&q(t, head * group_ * D), group_, D);
      const auto all = room_.chosen.subspan(static_cast<std::size_t>(part * most_), static_cast<std::size_t>(most_));
      const auto found = selection_.choose(layer_, rows[static_cast<std::size_t>(t)], head, own, worker, all);
      room_.chosen_counts[static_cast<std::size_t>(part)] = static_cast<std::int32_t>(found.size());
    };
    context_.pool.run(parts(rows), choose);
    const std::int32_t sequence = rows[0].sequence;
    const Index hot = cold_ != nullptr ? cold_->end(sequence) : 0;
    const MatrixView<float> carried(room_.carried.data(), out.extent(0), 2 * shape_.heads);
    if (hot > 0) {
      start_parts(carried, out);
      read_cold(rows, q, out, carried, hot);
    }
    const auto attend = [&](Index part, int worker) {
      const BatchRow row = rows[static_cast<std::size_t>(part / K)];
      const auto sequence_pages = pages_[static_cast<std::size_t>(sequence)];
      const auto per_worker = static_cast<std::size_t>(most_ * kBlockPages);
      const auto table = room_.table.subspan(static_cast<std::size_t>(worker) * per_worker, per_worker);
      std::size_t listed = 0;
      Index blocks = 0;
      for (const std::int32_t block : chosen(part)) {
        if (block < block_of(hot)) continue;
        ++blocks;
        for (Index i = block * kBlockPages; i < std::min((block + 1) * kBlockPages, std::ssize(sequence_pages)); ++i)
          table[listed++] = sequence_pages[static_cast<std::size_t>(i)];
      }
      AttentionPart all;
      if (hot > 0) all.carried = carried;
      const Index position = (blocks - 1) * kAttentionBlock + row.position % kAttentionBlock;
      attend_part(part, layout_, layer_, table.first(listed), position, all, q, out);
    };
    context_.pool.run(parts(rows), attend);
  }

  // What any of the rows chose of what is not in RAM, in order of position.
  void read_cold(std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<float> out,
                 MatrixView<float> carried, Index hot) const {
    const std::span<std::uint8_t> wanted = room_.wanted.first(static_cast<std::size_t>(block_of(hot)));
    std::fill(wanted.begin(), wanted.end(), std::uint8_t{0});
    for (Index part = 0; part < parts(rows); ++part) {
      for (const std::int32_t block : chosen(part)) {
        if (block < std::ssize(wanted)) wanted[static_cast<std::size_t>(block)] = 1;
      }
    }
    std::size_t count = 0;
    for (Index block = 0; block < std::ssize(wanted); ++block) {
      if (wanted[static_cast<std::size_t>(block)] != 0) room_.positions[count++] = block * kAttentionBlock;
    }
    const std::int32_t sequence = rows[0].sequence;
    const std::span<const Index> positions = room_.positions.first(count);
    cold_->announce(layer_, sequence, positions);
    for (std::size_t next = 0; next < positions.size();) {
      const ColdPages::Window window = cold_->read(layer_, sequence, positions[next]);
      while (next < positions.size() && positions[next] < window.to) ++next;
      const auto attend = [&](Index part, int) {
        for (const std::int32_t block : chosen(part)) {
          const Index from = block * kAttentionBlock;
          if (from < window.from || from >= window.to) continue;
          const AttentionPart own = {from, from + kAttentionBlock, carried, false};
          attend_part(part, window.layout, 0, window.pages[static_cast<std::size_t>(sequence)],
                      rows[static_cast<std::size_t>(part / layout_.kv_heads)].position, own, q, out);
        }
      };
      context_.pool.run(parts(rows), attend);
    }
  }

  // One row's heads of one KV head, over a table of pages that ends with its own position.
  void attend_part(Index part, const KvLayout& layout, Index layer, std::span<const std::byte* const> table,
                   Index position, AttentionPart own, MatrixView<const float> q, MatrixView<float> out) const {
    const Index t = part / layout_.kv_heads, head = part % layout_.kv_heads, D = layout_.head_dim;
    const Index query = head * group_;
    const KvHead kv{layout.type, D, table, layout.key_offset(layer, head), layout.value_offset(layer, head)};
    if (own.carried.data() != nullptr) own.carried = own.carried.rows(t, 1).cols(2 * query, 2 * group_);
    context_.kernels.attention(kv, {position, 0, group_, own}, shape_.logits, q.rows(t, 1).cols(query * D, group_ * D),
                               out.rows(t, 1).cols(query * D, group_ * D));
  }

  const Context& context_;
  const KvLayout& layout_;
  Index layer_;
  const AttentionShape& shape_;
  KvPages pages_;
  ColdPages* cold_;
  KvSelection& selection_;
  const KvSelection::Room& room_;
  Index group_, most_;
};

void selected_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                        std::span<const BatchRow> rows, MatrixView<const float> q, MatrixView<const float> sink_q,
                        KvPages pages, ColdPages* cold, KvSelection& selection, MatrixView<float> out) {
  const SelectedAttention attention(context, layout, layer, shape, pages, cold, selection);
  const KvSelect& select = selection.select();
  const bool quest = select.method == KvMethod::kQuest;
  const auto selects = [&](const BatchRow& row) { return quest ? row.selects : select.streams(row.position); };
  for (Index first = 0; first < std::ssize(rows);) {
    const Index end = end_of_run(rows, first, selects), count = end - first;
    const auto own = rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    if (!selects(own[0])) {
      tiered_attention(context, layout, layer, shape, own, q.rows(first, count), pages, cold, out.rows(first, count));
    } else if (quest) {
      attention.read_chosen(own, q.rows(first, count), out.rows(first, count));
    } else {
      attention.stream(own, q.rows(first, count), sink_q.rows(first, count), out.rows(first, count));
    }
    first = end;
  }
}

}  // namespace jericho
