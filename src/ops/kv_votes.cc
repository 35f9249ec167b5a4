// Weights, votes and what is kept: see kv_votes.h.
#include "ops/kv_votes.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/check.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

constexpr Index kWave = 8;        // queries whose weights are held at once
constexpr Index kNeighbours = 2;  // to each side, of snapkv

}  // namespace

template <class S>
KvVotes::Room KvVotes::Room::take(S& scratch, const SelectionShape& shape) {
  const Index K = shape.kv.kv_heads, D = shape.kv.head_dim, group = shape.heads / K, threads = shape.threads;
  const Index slots = shape.sequences * std::count(shape.layers.begin(), shape.layers.end(), true);
  const Index places = shape.blocks() * kAttentionBlock;
  const bool snap = shape.select.method == KvMethod::kSnapKv;
  Room room;
  room.votes = scratch.template take<float>(snap ? 0 : slots * K * shape.context);
  room.queries = scratch.template take<float>(snap ? slots * shape.select.window * shape.heads * D : 0);
  room.keys = scratch.template take<float>(threads * kAttentionBlock * D);
  room.cells = scratch.template take<std::uint32_t>(threads * dense_right_cells(D, kAttentionBlock));
  room.scores = scratch.template take<float>(threads * kWave * places);
  room.weights = scratch.template take<float>(threads * group * kWave * places);
  room.sums = scratch.template take<float>(threads * 2 * group * kWave);
  room.window = scratch.template take<float>(snap ? threads * places : 0);
  room.ranked = scratch.template take<Ranked>(threads * places);
  return room;
}

KvVotes::KvVotes(SelectionShape shape, std::span<std::byte> memory) : shape_(std::move(shape)) {
  Scratch scratch(memory);
  room_ = Room::take(scratch, shape_);
  for (const bool selects : shape_.layers) slot_of_layer_.push_back(selects ? selecting_++ : -1);
}

Bytes KvVotes::bytes(const SelectionShape& shape) {
  ScratchSize size;
  Room::take(size, shape);
  return size.peak();
}

void KvVotes::begin_step(std::span<const std::int32_t> sequences) {
  numbers_.assign(sequences.begin(), sequences.end());
}

Index KvVotes::slot(Index layer, std::int32_t number) const {
  return number * selecting_ + slot_of_layer_[static_cast<std::size_t>(layer)];
}

std::span<float> KvVotes::votes(Index layer, std::int32_t number, Index head) const {
  const Index at = (slot(layer, number) * shape_.kv.kv_heads + head) * shape_.context;
  return room_.votes.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(shape_.context));
}

MatrixView<float> KvVotes::queries(Index layer, std::int32_t number) const {
  const Index width = shape_.heads * shape_.kv.head_dim, window = shape_.select.window;
  return {room_.queries.data() + slot(layer, number) * window * width, window, width};
}

void KvVotes::note_queries(const Context& context, Index layer, std::span<const BatchRow> rows,
                           MatrixView<const float> q, KvPages pages) {
  if (slot_of_layer_[static_cast<std::size_t>(layer)] < 0) return;
  const Index width = group() * shape_.kv.head_dim;
  for (Index first = 0, end = 0; first < std::ssize(rows); first = end) {
    const BatchRow row = rows[static_cast<std::size_t>(first)];
    while (end < std::ssize(rows) && rows[static_cast<std::size_t>(end)].sequence == row.sequence) ++end;
    const std::int32_t number = numbers_[static_cast<std::size_t>(row.sequence)];
    if (shape_.select.method == KvMethod::kSnapKv) {
      const MatrixView<float> kept = queries(layer, number);
      for (Index t = std::max(first, end - shape_.select.window); t < end; ++t) {
        const Index position = row.position + row.skipped + t - first;
        std::copy_n(&q(t, 0), q.extent(1), &kept(position % shape_.select.window, 0));
      }
      continue;
    }
    const auto vote = [&](Index head, int worker) {
      const std::span<float> all = votes(layer, number, head);
      std::fill_n(all.begin() + row.position, end - first, 0.0f);
      add_weights(context, {layer, head, pages[static_cast<std::size_t>(row.sequence)]},
                  q.rows(first, end - first).cols(head * width, width), row.position, all, worker);
    };
    context.pool.run(shape_.kv.kv_heads, vote);
  }
}

// The scores of one wave, then its weights.
void KvVotes::score(const Context& context, const Head& at, MatrixView<const float> q, Index place, int worker) const {
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const Index D = shape_.kv.head_dim, R = q.extent(0), count = place + R, columns = round_up(count, kAttentionBlock);
  float* const keys = room_.keys.data() + worker * kAttentionBlock * D;
  std::uint32_t* const cells = room_.cells.data() + worker * dense_right_cells(D, kAttentionBlock);
  float* const weights = room_.weights.data() + worker * group() * kWave * places();
  for (Index block = 0; block < count; block += kAttentionBlock) {
    const Index there = std::min(kAttentionBlock, count - block);
    for (Index j = 0; j < there; ++j) {
      const std::byte* page = at.pages[static_cast<std::size_t>((block + j) / kPageTokens)];
      kv_load(shape_.kv.type.keys, page + shape_.kv.key_offset(at.layer, at.head).count, D, (block + j) % kPageTokens,
              keys + j * D);
    }
    kernels.dense_transpose(DType::kF32, float_rows(keys, there, D), cells, kAttentionBlock);
    for (Index h = 0; h < group(); ++h) {
      const DenseLeft left = {reinterpret_cast<const std::uint32_t*>(&q(0, h * D)), q.row_stride(), 1};
      const FloatRows out = {reinterpret_cast<std::byte*>(weights + h * kWave * places() + block), DType::kF32, R,
                             kAttentionBlock, places()};
      kernels.dense_multiply(DType::kF32, left, {cells, kAttentionBlock, kAttentionBlock}, {&D, 1}, DenseStore::kSet,
                             out);
    }
  }
  float* const scores = room_.scores.data() + worker * kWave * places();
  float* const sums = room_.sums.data() + worker * 2 * group() * kWave;
  const AttentionLogits logits = shape_.logits;
  for (Index h = 0; h < group(); ++h) {
    const MatrixView<float> s(scores, R, columns, places());
    for (Index t = 0; t < R; ++t) {
      const float* from = weights + (h * kWave + t) * places();
      std::transform(from, from + columns, s.row(t).begin(), [&](float x) { return x * logits.scale; });
    }
    if (logits.soft_cap > 0) context.kernels.soft_cap(logits.soft_cap, s);
    const FloatRows p = {reinterpret_cast<std::byte*>(weights + h * kWave * places()), DType::kF32, R, columns,
                         places()};
    const VisibleKeys visible = {-R, place + 1};
    kernels.attention_probabilities(s, 1.0f, visible, p, sums + (group() + h) * kWave, sums + h * kWave);
  }
}

void KvVotes::add_weights(const Context& context, const Head& at, MatrixView<const float> q, Index place,
                          std::span<float> votes, int worker) const {
  const float* const weights = room_.weights.data() + worker * group() * kWave * places();
  const float* const inverse = room_.sums.data() + worker * 2 * group() * kWave;
  for (Index first = 0; first < q.extent(0); first += kWave) {
    const Index R = std::min(kWave, q.extent(0) - first);
    score(context, at, q.rows(first, R), place + first, worker);
    for (Index t = 0; t < R; ++t) {
      for (Index h = 0; h < group(); ++h) {
        const float* const p = weights + (h * kWave + t) * places();
        const float part = inverse[h * kWave + t];
        for (Index j = 0; j <= place + first + t; ++j) votes[static_cast<std::size_t>(j)] += p[j] * part;
      }
    }
  }
}

// The places below `candidates` that are kept, ascending.
std::span<const KvVotes::Ranked> KvVotes::elect(std::span<const float> votes, Index candidates, int worker) const {
  const bool snap = shape_.select.method == KvMethod::kSnapKv;
  const auto all = static_cast<std::size_t>(places());
  const std::span<Ranked> ranked = room_.ranked.subspan(static_cast<std::size_t>(worker) * all, all);
  for (Index j = 0; j < candidates; ++j) {
    float sum = snap ? 0.0f : votes[static_cast<std::size_t>(j)];
    const Index end = snap ? std::min(j + kNeighbours + 1, candidates) : 0;
    for (Index i = std::max<Index>(j - kNeighbours, 0); i < end; ++i) sum += votes[static_cast<std::size_t>(i)];
    ranked[static_cast<std::size_t>(j)] = {sum == sum ? sum : std::numeric_limits<float>::infinity(),
                                           static_cast<std::int32_t>(j)};
  }
  const std::span<Ranked> running = ranked.first(static_cast<std::size_t>(candidates));
  const Index seats = shape_.select.tokens - shape_.select.newest();
  std::nth_element(running.begin(), running.begin() + seats, running.end(), [](const Ranked& a, const Ranked& b) {
    return a.votes != b.votes ? a.votes > b.votes : a.place < b.place;
  });
  const std::span<Ranked> elected = running.first(static_cast<std::size_t>(seats));
  std::sort(elected.begin(), elected.end(), [](const Ranked& a, const Ranked& b) { return a.place < b.place; });
  return elected;
}

void KvVotes::move(const Head& at, Index place, Index to) const {
  if (place == to) return;
  const KvLayout& kv = shape_.kv;
  const std::byte* from = at.pages[static_cast<std::size_t>(place / kPageTokens)];
  std::byte* page = at.pages[static_cast<std::size_t>(to / kPageTokens)];
  const auto copy = [&](KvType type, Index offset) {
    kv_copy(type, from + offset, place % kPageTokens, kv.head_dim, to % kPageTokens, page + offset);
  };
  copy(kv.type.keys, kv.key_offset(at.layer, at.head).count);
  copy(kv.type.values, kv.value_offset(at.layer, at.head).count);
}

void KvVotes::drop(const Context& context, std::int32_t number, Index length, Index stored,
                   std::span<std::byte* const> pages) {
  const KvSelect& select = shape_.select;
  const Index K = shape_.kv.kv_heads, D = shape_.kv.head_dim, newest = select.newest(), candidates = stored - newest;
  JERICHO_CHECK(stored > select.tokens && stored <= shape_.context, "{} positions, {} are kept", stored, select.tokens);
  const auto of_head = [&](Index part, int worker) {
    const Head at = {part / K, part % K, pages};
    if (slot_of_layer_[static_cast<std::size_t>(at.layer)] < 0) {
      for (Index to = 0; to < select.tokens; ++to) move(at, stored - select.tokens + to, to);
      return;
    }
    std::span<float> all;
    if (select.method == KvMethod::kH2O) {
      all = votes(at.layer, number, at.head);
    } else {
      all = room_.window.subspan(static_cast<std::size_t>(worker * places()), static_cast<std::size_t>(stored));
      std::fill(all.begin(), all.end(), 0.0f);
      const MatrixView<float> kept = queries(at.layer, number);
      for (Index t = 0; t < select.window;) {  // from its first position to where the ring ends, then the rest
        const Index row = (length - select.window + t) % select.window,
                    count = std::min(select.window - row, select.window - t);
        add_weights(context, at, kept.rows(row, count).cols(at.head * group() * D, group() * D),
                    stored - select.window + t, all, worker);
        t += count;
      }
    }
    Index to = 0;
    const auto keep = [&](Index place) {
      move(at, place, to);
      if (select.method == KvMethod::kH2O) all[static_cast<std::size_t>(to)] = all[static_cast<std::size_t>(place)];
      ++to;
    };
    for (const Ranked& elected : elect(all, candidates, worker)) keep(elected.place);
    for (Index place = candidates; place < stored; ++place) keep(place);
  };
  context.pool.run(shape_.kv.layers * K, of_head);
}

}  // namespace jericho
