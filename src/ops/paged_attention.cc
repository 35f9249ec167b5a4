// Rows x heads over the pool, or the positions of each: see paged_attention.h.
#include "ops/paged_attention.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include "base/check.h"
#include "kernels/attention_steps.h"
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
    while (!fills(threads) && tokens > 1) tokens = ceil_div(tokens, 2);
    while (!fills(threads) && heads > 1) heads = ceil_div(heads, 2);
  }
  [[nodiscard]] Index head_parts() const { return ceil_div(group, heads); }
  [[nodiscard]] Index parts() const { return ceil_div(rows, tokens) * kv_heads * head_parts(); }
  // Whether all threads are at work until about the end.
  [[nodiscard]] bool fills(Index threads) const {
    return parts() >= kPartsPerThread * threads || parts() % threads == 0;
  }
  // Whether so many quarters of the threads' time or more pass idle, where the last parts are as long as the largest.
  [[nodiscard]] bool idles(Index threads, Index quarters) const {
    const Index lasts = ceil_div(parts(), threads) * tokens * heads;  // rows x heads, one after the other
    return 4 * rows * kv_heads * group <= (4 - quarters) * threads * lasts;
  }
};

// How many quarters of the threads must be idle before sharing positions pays: each slice of columns decodes the scales
// of 8-bit values again, and unpacks whole tiles of 4-bit ones (docs/kernels.md, log).
Index idle_quarters(const KvLayout& layout) {
  const KvType values = layout.latent_columns > 0 ? layout.type.keys : layout.type.values;
  return values == KvType::kQ4 ? 3 : values == KvType::kQ8 ? 2 : 1;
}

// The end of the run of consecutive positions of one sequence that begins at `first`, before `limit`.
Index end_of_run(std::span<const BatchRow> rows, Index first, Index limit) {
  const auto at = [&](Index t) { return rows[static_cast<std::size_t>(t)]; };
  Index end = first + 1;
  while (end < limit && at(end).sequence == at(first).sequence && at(end).position == at(end - 1).position + 1) ++end;
  return end;
}

struct AttentionCall {  // what paged_attention() is asked for
  const Context& context;
  const KvLayout& layout;
  Index layer;
  const AttentionShape& shape;
  std::span<const BatchRow> rows;
  MatrixView<const float> q;
  KvPages pages;
  MatrixView<float> out;
  const AttentionPart& part;

  [[nodiscard]] BatchRow row(Index t) const { return rows[static_cast<std::size_t>(t)]; }
  [[nodiscard]] Index group() const { return shape.heads / layout.kv_heads; }
  [[nodiscard]] KvHead kv(Index t, Index head) const {
    const auto sequence = pages[static_cast<std::size_t>(row(t).sequence)];
    KvHead kv = {layout.type,
                 layout.head_dim,
                 {sequence.data(), sequence.size()},
                 layout.key_offset(layer, head),
                 layout.value_offset(layer, head)};
    if (layout.has_full_keys()) {
      const auto full = pages.full_keys[static_cast<std::size_t>(row(t).sequence)];
      kv.full_pages = {full.data(), full.size()};
      kv.full_offset = layout.full_key_offset(layer, head);
    }
    return kv;
  }
  // Query heads [query, query + heads) of rows [t, t + count), which are consecutive tokens of a sequence.
  [[nodiscard]] QueryTokens tokens(Index t, Index count, Index query, Index heads) const {
    AttentionPart own = part;
    if (part.carries()) own.carried = part.carried.rows(t, count).cols(2 * query, 2 * heads);
    return {row(t).position, shape.window, heads, own};
  }
  [[nodiscard]] MatrixView<const float> queries(Index t, Index count, Index query, Index heads) const {
    return q.rows(t, count).cols(query * layout.head_dim, heads * layout.head_dim);
  }
  [[nodiscard]] MatrixView<float> sums(Index t, Index count, Index query, Index heads) const {
    return out.rows(t, count).cols(query * layout.value_dim(), heads * layout.value_dim());
  }
};

// m and sum of some heads before any position.
void start_softmax(std::span<float> state) {
  for (std::size_t h = 0; h < state.size(); h += 2) {
    state[h] = -std::numeric_limits<float>::infinity();
    state[h + 1] = 0;
  }
}

// Rows x heads that leave threads idle: a row and KV head is a unit, whose blocks, then columns, are shared out.
class SplitUnits {
 public:
  explicit SplitUnits(const AttentionCall& call)
      : call_(call), count_(std::ssize(call.rows) * call.layout.kv_heads), threads_(call.context.pool.threads()) {}

  // Nothing happens where there is not enough to share, or no room for it.
  bool attend(Scratch& spare) {
    ScratchSize size;
    static_cast<void>(size.take<Unit>(count_));
    Index blocks = 0;
    take_units(size, [&](Index, const Unit& unit) { blocks += unit.steps.blocks() * unit.steps.heads(); });
    if (blocks * call_.layout.head_dim < kLeastWork || size.peak() > spare.free()) return false;
    const ScratchScope scope(spare);
    units_ = spare.take<Unit>(count_);
    take_units(spare,
               [&](Index i, const Unit& unit) { std::construct_at(&units_[static_cast<std::size_t>(i)], unit); });
    run();
    return true;
  }

 private:
  static constexpr Index kLeastWork = 2048;  // blocks x columns, of all query heads: the steps wait for one another
  static constexpr Index kRangesPerThread = 2;

  struct Unit {
    Index row, query;  // of the first of its query heads
    KvHead kv;
    QueryTokens token;
    AttentionSteps steps;
  };

  template <class S, class Keep>
  void take_units(S& scratch, const Keep& keep) const {
    const Index group = call_.group();
    for (Index i = 0; i < count_; ++i) {
      const Index t = i / call_.layout.kv_heads, head = i % call_.layout.kv_heads;
      const QueryTokens token = call_.tokens(t, 1, head * group, group);
      const Index first = token.begin(0) / kAttentionBlock, end = ceil_div(token.end(0), kAttentionBlock);
      JERICHO_CHECK(first < end, "the token at {} sees nothing of its part", token.position);
      const std::span<float> state =
          token.part.carries() ? token.part.carried.row(0) : scratch.template take<float>(2 * group);
      const auto take = [&](Index floats) { return scratch.template take<float>(floats).data(); };
      keep(i, Unit{t, head * group, call_.kv(t, head), token, {group, first, end - first, state, take}});
    }
  }

  void run() const {
    const Kernels& kernels = call_.context.kernels;
    for (const Unit& unit : units_) {
      if (!call_.part.carries()) start_softmax(unit.steps.state);
    }
    over_blocks([&](const Unit& unit, StepRange blocks) {
      const MatrixView<const float> q = call_.queries(unit.row, 1, unit.query, unit.steps.heads());
      kernels.attention_logits(unit.kv, unit.token, call_.shape.logits, q, blocks, unit.steps);
    });
    for (const Unit& unit : units_) running_maxima(unit.steps);
    over_blocks([&](const Unit& unit, StepRange blocks) { kernels.attention_weights(unit.token, blocks, unit.steps); });
    for (const Unit& unit : units_) running_sums(unit.steps);
    over_columns([&](const Unit& unit, Index head, Index heads, StepRange columns) {
      QueryTokens token = unit.token;
      token.heads = heads;
      kernels.attention_values(unit.kv, token, columns, unit.steps.of_heads(head, heads),
                               call_.sums(unit.row, 1, unit.query + head, heads));
    });
  }

  template <class Body>
  void over_blocks(const Body& body) const {
    const Index ranges = ceil_div(kRangesPerThread * threads_, count_);
    call_.context.pool.run(count_ * ranges, [&](Index piece, int) {
      const Unit& unit = units_[static_cast<std::size_t>(piece / ranges)];
      const Index blocks = unit.steps.blocks(), i = piece % ranges;
      const StepRange range = {blocks * i / ranges, blocks * (i + 1) / ranges};
      if (range.begin < range.end) body(unit, range);
    });
  }

  // As few columns at a time as leave every thread some, and where those are too narrow, as few heads.
  template <class Body>
  void over_columns(const Body& body) const {
    const Index columns = call_.layout.value_dim(), group = call_.group(), wanted = ceil_div(threads_, count_);
    const Index width = std::max<Index>(columns / wanted / 32 * 32, 16), slices = ceil_div(columns, width);
    const Index heads = ceil_div(group, std::min(group, ceil_div(wanted, slices)));
    const Index head_parts = ceil_div(group, heads), parts = slices * head_parts;
    call_.context.pool.run(count_ * parts, [&](Index piece, int) {
      const Unit& unit = units_[static_cast<std::size_t>(piece / parts)];
      const Index head = piece % parts / slices * heads, from = piece % slices * width;
      body(unit, head, std::min(heads, group - head), StepRange{from, std::min(from + width, columns)});
    });
  }

  const AttentionCall& call_;
  Index count_, threads_;
  std::span<Unit> units_;
};

// The tiles of the block that ends with this page, the last of them at `offset`.
template <class Byte>
std::array<Byte*, kBlockPages> block_tiles(std::span<std::byte* const> pages, std::size_t last, Bytes offset) {
  std::array<Byte*, kBlockPages> tiles{};
  for (std::size_t t = 0; t < tiles.size(); ++t) tiles[t] = pages[last + 1 - tiles.size() + t] + offset.count;
  return tiles;
}

// Keys per channel: the blocks that these rows complete, whose keys are stored in full.
void code_completed_blocks(const Context& context, const KvLayout& layout, Index layer, std::span<const BatchRow> rows,
                           KvPages pages) {
  const auto completes = [](const BatchRow& row) { return (row.position + 1) % kAttentionBlock == 0; };
  const Index blocks = std::count_if(rows.begin(), rows.end(), completes);
  const auto code = [&](Index piece, int) {
    auto row = std::find_if(rows.begin(), rows.end(), completes);
    for (Index i = 0; i < piece / layout.kv_heads; ++i) row = std::find_if(row + 1, rows.end(), completes);
    const Index head = piece % layout.kv_heads;
    const auto sequence = static_cast<std::size_t>(row->sequence);
    const auto page = static_cast<std::size_t>(row->position / kPageTokens);
    const auto full =
        block_tiles<const std::byte>(pages.full_keys[sequence], page, layout.full_key_offset(layer, head));
    const auto coded = block_tiles<std::byte>(pages[sequence], page, layout.key_offset(layer, head));
    code_key_block(full, layout.head_dim, coded);
  };
  if (blocks > 0) context.pool.run(blocks * layout.kv_heads, code);
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
    std::byte* full =
        layout.has_full_keys() ? pages.full_keys[static_cast<std::size_t>(row.sequence)][page_index] : nullptr;
    for (Index head = 0; head < layout.kv_heads; ++head) {
      const Index slot = row.position % kPageTokens;
      const float* key = &keys(t, head * layout.head_dim);
      if (full != nullptr) {
        context.kernels.kv_store(KvType::kF16, key, layout.head_dim, slot,
                                 full + layout.full_key_offset(layer, head).count);
      } else {
        context.kernels.kv_store(layout.type.keys, key, layout.head_dim, slot,
                                 page + layout.key_offset(layer, head).count);
      }
      if (layout.latent_columns > 0) continue;
      context.kernels.kv_store(layout.type.values, &values(t, head * layout.head_dim), layout.head_dim, slot,
                               page + layout.value_offset(layer, head).count);
    }
  };
  context.pool.run(static_cast<Index>(rows.size()), store);
  if (layout.has_full_keys()) code_completed_blocks(context, layout, layer, rows, pages);
}

void start_parts(MatrixView<float> carried, MatrixView<float> out) {
  for (Index t = 0; t < out.extent(0); ++t) {
    std::fill_n(&out(t, 0), out.extent(1), 0.0f);
    start_softmax(carried.row(t));
  }
}

void paged_attention(const Context& context, const KvLayout& layout, Index layer, const AttentionShape& shape,
                     std::span<const BatchRow> rows, MatrixView<const float> q, KvPages pages, MatrixView<float> out,
                     const AttentionPart& part, Scratch* spare) {
  if (rows.empty()) return;
  const AttentionCall call = {context, layout, layer, shape, rows, q, pages, out, part};
  const Cut cut(static_cast<Index>(rows.size()), layout.kv_heads, call.group(), context.pool.threads());
  if (spare != nullptr && cut.idles(context.pool.threads(), idle_quarters(layout)) && SplitUnits(call).attend(*spare))
    return;
  const auto attend = [&](Index piece, int) {
    piece = cut.parts() - 1 - piece;  // the last tokens of a prompt have the longest way: they come first
    const Index head = piece / cut.head_parts() % cut.kv_heads;
    const Index first = piece % cut.head_parts() * cut.heads;  // of the group
    const Index count = std::min(cut.heads, cut.group - first), query = head * cut.group + first;
    const Index begin = piece / (cut.kv_heads * cut.head_parts()) * cut.tokens;
    const Index limit = std::min(begin + cut.tokens, cut.rows);
    for (Index t = begin, end = begin; t < limit; t = end) {
      end = end_of_run(rows, t, limit);
      context.kernels.attention(call.kv(t, head), call.tokens(t, end - t, query, count), shape.logits,
                                call.queries(t, end - t, query, count), call.sums(t, end - t, query, count));
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
