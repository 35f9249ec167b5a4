// What attention on pages does with one block of 64 positions, for the rows of a pass: logits, softmax, p V, around the
// products of attention-inl.h. A row is one token's query of one head; up to 32 rows go through a block together.
// attention.cc goes over the blocks. BlockProducts is where tiles come in.
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cpu/targets.h"
#include "kernels/kv_tile.h"

#if defined(JERICHO_ATTENTION_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_ATTENTION_BLOCKS_INL_H_
#undef JERICHO_ATTENTION_BLOCKS_INL_H_
#else
#define JERICHO_ATTENTION_BLOCKS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/attention_channels-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

template <KvType kType>
HWY_INLINE void prepare_query(const float* q, Index D, float scale, Index row, Queries& out) {
  if constexpr (has_codes(kType)) {
    const Index groups = out.groups();
    float scaled_sum[kMaxGroups];
    std::int32_t half_sum[2 * kMaxGroups];
    quantize_q8(q, D, out.stride, 32, {out.code + row * out.stride, out.scale + row * groups, scaled_sum, half_sum});
    for (Index g = 0; g < groups; ++g) out.code_sum[row * groups + g] = half_sum[2 * g] + half_sum[2 * g + 1];
    return;
  }
  float* value = out.value + row * out.stride;
  std::copy(q, q + D, value);
  std::fill(value + D, value + out.stride, 0.0f);
  if constexpr (kType == KvType::kBF16) {
    for (Index d = 0; d < out.stride; d += 16) store(round_to_bf16(multiply(load(value + d), set(scale))), value + d);
  }
}

struct Row {
  Index begin = 0, end = 0;  // the positions it sees
  Index coded = 0;           // of those, as keys per channel, the first that it sees in full

  HWY_INLINE Visible visible(Index block) const {  // of the block that starts at position `block`
    return {std::max(begin, block) - block, std::min(end, block + kAttentionBlock) - block};
  }
};

// The running softmax of a pass's rows, rounded up to whole vectors.
struct Softmax {
  alignas(64) float maximum[kMaxRows];
  alignas(64) float sum[kMaxRows];
  alignas(64) float correction[kMaxRows];
};

// Caps a block's logits, hides those that are not visible and returns the largest.
HWY_INLINE float largest_logit(float* p, Visible visible, float soft_cap) {
  if (soft_cap > 0) {
    for (Index j = 0; j < kAttentionBlock; j += 16) store(soft_capped(load(p + j), soft_cap), p + j);
  }
  for (Index j = 0; j < visible.from; ++j) p[j] = -std::numeric_limits<float>::infinity();
  for (Index j = visible.to; j < kAttentionBlock; ++j) p[j] = -std::numeric_limits<float>::infinity();
  F32x16 largest = set(-std::numeric_limits<float>::infinity());
  for (Index j = 0; j < kAttentionBlock; j += 16) largest = greater(load(p + j), largest);  // passes over NaN
  return maximum(largest);
}

// Turns a block's logits into probabilities, 0 for positions that are not visible, and returns their sum.
HWY_INLINE float probabilities(float* p, Visible visible, float maximum) {
  F32x16 lanes = zero();
  if (visible == Visible{0, kAttentionBlock}) {
#pragma GCC unroll 4
    for (Index j = 0; j < kAttentionBlock; j += 16) {
      const F32x16 weights = exp(subtract(load(p + j), set(maximum)));
      store(weights, p + j);
      lanes = add(lanes, weights);
    }
  } else {
    for (Index j = 0; j < kAttentionBlock; j += 16) store(exp(subtract(load(p + j), set(maximum))), p + j);
    for (Index j = 0; j < visible.from; ++j) p[j] = 0;
    for (Index j = visible.to; j < kAttentionBlock; ++j) p[j] = 0;
    for (Index j = 0; j < kAttentionBlock; j += 16) lanes = add(lanes, load(p + j));
  }
  return sum(lanes);
}

// Calls with(rows as a constant, first row) for rows [first, last), kSharedRows at a time.
template <class With>
HWY_INLINE void in_shares(Index first, Index last, const With& with) {
  for (; first + kSharedRows <= last; first += kSharedRows) with.template operator()<kSharedRows>(first);
  if constexpr (kSharedRows > 2) {
    if (last - first == 3) return with.template operator()<3>(first);
    if (last - first == 2) return with.template operator()<2>(first);
  }
  if (first < last) with.template operator()<1>(first);
}

// The lines of a tile that is read a block later: between two pages there is nothing that the processor could guess.
HWY_INLINE void prefetch_tile(const std::byte* tile, Index bytes) {
  for (Index i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(tile + i), _MM_HINT_T0);
}

// Everything that a pass over the positions works on, some 400 KiB of stack at most; of narrow heads far less.
struct Pass {
  Queries queries;
  TurnedKeys keys;
  ChannelQueries channels;
  Row rows[kMaxRows];
  Softmax softmax;
  alignas(64) float out[kMaxRowValues + 16];
  alignas(64) float p[kMaxRows][kAttentionBlock];
  alignas(64) float value_scales[kAttentionBlock * kMaxGroups];
  alignas(64) float staged[kHalfBlock * kMaxKeyWidth];
  TileCodes key_codes;  // of q4 pages, unpacked
  TileCodes value_codes[kBlockPages];
};

HWY_INLINE void rescale(float* out, Columns columns, float correction) {
  if (correction == 1.0f) return;
  for (Index d = columns.from; d < columns.to; d += 16) store(multiply(load(out + d), set(correction)), out + d);
}

// Turns the logits of rows [first, last) into probabilities and rescales what was summed so far. The rows' corrections
// are computed in lanes: one alone would be a chain of some twenty operations that everything waits for.
HWY_INLINE void softmax_block(Pass& pass, float soft_cap, Columns columns, Index stride, Index block, Index first,
                              Index last) {
  Softmax& s = pass.softmax;
  for (Index r = first; r < last; ++r) {
    const float largest = largest_logit(pass.p[r], pass.rows[r].visible(block), soft_cap);
    const float maximum = s.maximum[r] < largest ? largest : s.maximum[r];
    s.correction[r] = s.maximum[r] - maximum;
    s.maximum[r] = maximum;
  }
  for (Index r = first / 16 * 16; r < last; r += 16) store(exp(load(s.correction + r)), s.correction + r);
  for (Index r = first; r < last; ++r) {
    s.sum[r] = s.sum[r] * s.correction[r] + probabilities(pass.p[r], pass.rows[r].visible(block), s.maximum[r]);
    rescale(pass.out + r * stride, columns, s.correction[r]);
  }
}

template <KvType kType, bool kTurned>
struct TileLogits {
  Pass& pass;
  const std::byte* tile;
  Q8Tile codes;
  Index D;
  float scale;
  Index slot;
  template <int kRows>
  HWY_INLINE void operator()(Index row) const {
    tile_logits<kType, kRows, kTurned>(tile, codes, pass.keys, pass.queries, D, row, scale,
                                       reinterpret_cast<float(*)[kAttentionBlock]>(&pass.p[row][slot]));
  }
};

// The keys of the positions that any row sees, and the values where `tiles` has them: tiles of a block and a block
// later.
struct BlockTiles {
  const std::byte* keys[kBlockPages] = {};
  const std::byte* values[kBlockPages] = {};
  const std::byte* full[kBlockPages] = {};  // keys per channel in full, where they are there
  LaterTiles later;
};

// Of the block that starts at position `block`; those later as far as positions below `end` are there. Of keys per
// channel from the block's first tile on: a window may begin in it, but the scales are those of all of it.
HWY_INLINE BlockTiles tiles_of(const KvHead& kv, Index block, Visible any, Index end) {
  BlockTiles out;
  const bool channels = kv.type.keys == KvType::kQ4C;
  for (Index i = channels ? 0 : any.from / kPageTokens; i < ceil_div(any.to, kPageTokens); ++i) {
    const Index page = block / kPageTokens + i, later = page + kBlockPages;
    const std::byte* own = kv.pages[static_cast<std::size_t>(page)];
    const std::byte* next = later * kPageTokens < end ? kv.pages[static_cast<std::size_t>(later)] : own;
    out.keys[i] = own + kv.key_offset.count;
    out.values[i] = own + kv.value_offset.count;
    out.later.keys[i] = next + kv.key_offset.count;
    out.later.values[i] = next + kv.value_offset.count;
    if (!channels) continue;
    const std::byte* full = kv.full_pages[static_cast<std::size_t>(page)];
    if (full != nullptr) out.full[i] = full + kv.full_offset.count;
  }
  return out;
}

// What is asked for of the tiles a block later while the products with this one's keys run.
struct Ahead {
  Index from = 0;  // bytes of both tiles that are asked for elsewhere
  Index keys = 0, values = 0;
};

HWY_INLINE void ask_for_keys(const BlockTiles& tiles, Index i, Ahead ahead) {
  if (tiles.later.keys[i] != tiles.keys[i]) prefetch_tile(tiles.later.keys[i] + ahead.from, ahead.keys - ahead.from);
}
// Between the products of two tiles: what is asked for at once beyond what can be under way is dropped.
HWY_INLINE void ask_for_values(const BlockTiles& tiles, Index i, Ahead ahead) {
  if (tiles.later.keys[i] != tiles.keys[i])
    prefetch_tile(tiles.later.values[i] + ahead.from, ahead.values - ahead.from);
}

// A block of positions as a pass meets it.
struct Block {
  Index start = 0;            // its first position
  Visible any{};              // what some row sees
  Index first = 0, last = 0;  // the rows that see something
  BlockTiles tiles;

  HWY_INLINE Index first_tile() const { return any.from / kPageTokens; }
  HWY_INLINE Index end_tile() const { return ceil_div(any.to, kPageTokens); }
  HWY_INLINE Index rows() const { return last - first; }
};

// q.k of the block's rows into pass.p.
template <KvType kType>
HWY_NOINLINE void block_logits(Pass& pass, const Block& block, Index D, float scale, Ahead ahead) {
  const BlockTiles& tiles = block.tiles;
  const Index first = block.first, last = block.last;
  for (Index i = block.first_tile(); i < block.end_tile(); ++i) {
    const std::byte* keys = tiles.keys[i];
    ask_for_keys(tiles, i, ahead);
    bool turned = false;
    Q8Tile codes{};
    if constexpr (has_codes(kType)) {
      codes = code_tile<kType>(keys, D, pass.key_codes);
      turn_scales(codes, kv_groups(D), pass.keys);
      if (last - first > kSharedRows) {
        turn_codes(codes, D, kPlus128, pass.keys);
        in_shares(first, last, TileLogits<kType, true>{pass, keys, codes, D, scale, i * kPageTokens});
        turned = true;
      }
    }
    if (!turned) in_shares(first, last, TileLogits<kType, false>{pass, keys, codes, D, scale, i * kPageTokens});
    ask_for_values(tiles, i, ahead);
  }
}

// p V of a half block. Rows that do not see the same positions of it go one by one: every row takes its own, in order.
template <KvType kType, class Values>
struct HalfBlockValues {
  Pass& pass;
  const Values& values;
  Columns columns;
  Index stride, block, half;

  [[nodiscard]] HWY_INLINE Visible positions(Index row) const {
    const Visible visible = pass.rows[row].visible(block);
    const Index from = std::clamp(visible.from, half, half + kHalfBlock);
    return {from, std::clamp(visible.to, from, half + kHalfBlock)};
  }
  template <int kRows>
  HWY_INLINE void operator()(Index row) const {
    const Visible first = positions(row);
    bool same = true;
    for (int r = 1; r < kRows; ++r) same = same && positions(row + r) == first;
    if (same) return add_values<kType, kRows>(values, columns, first, &pass.p[row], pass.out + row * stride, stride);
    for (Index r = row; r < row + kRows; ++r)
      add_values<kType, 1>(values, columns, positions(r), &pass.p[r], pass.out + r * stride, stride);
  }
};

inline constexpr Visible kBothHalves = {0, kAttentionBlock};

// Those columns of p V for the block's rows, of the halves in `halves`.
template <KvType kType>
HWY_NOINLINE void block_values(Pass& pass, const Block& block, Index D, Columns columns, Visible halves) {
  const BlockTiles& tiles = block.tiles;
  const Visible any = block.any;
  const Index first = block.first, last = block.last, stride = pass.queries.stride;
  Q8Tile codes[kBlockPages] = {};
  if constexpr (has_codes(kType)) {
    for (Index i = block.first_tile(); i < block.end_tile(); ++i) {
      codes[i] = code_tile<kType>(tiles.values[i], D, pass.value_codes[i]);
      load_scales(codes[i], kv_groups(D), pass.value_scales + i * kPageTokens * kv_groups(D));
    }
  }
  if constexpr (kType == KvType::kBF16) {
    for (Index r = first; r < last; ++r) {
      for (Index j = 0; j < kAttentionBlock; j += 16) store(round_to_bf16(load(pass.p[r] + j)), pass.p[r] + j);
    }
  }
  const auto stored = stored_values<kType>(tiles.values, codes, tiles.later, D, pass.value_scales);
  for (Index half = halves.from; half < halves.to; half += kHalfBlock) {
    if (last - first <= kSharedRows) {
      in_shares(first, last,
                HalfBlockValues<kType, decltype(stored)>{pass, stored, columns, stride, block.start, half});
      continue;
    }
    for (Index j = std::max(any.from, half); j < std::min(any.to, half + kHalfBlock); ++j) {
      for (Index d = columns.from; d < columns.to; d += 16)
        store(stored.row(j, d).at(0), pass.staged + (j - half) * stride + d);
    }
    const StagedValues staged{pass.staged, stride, half};
    in_shares(first, last, HalfBlockValues<kType, StagedValues>{pass, staged, columns, stride, block.start, half});
  }
}

// The two products of a pass with a block: here by vectors, from which tiles take what they can (attention_amx-inl.h).
// One function per type of keys and one per type of values, since one per pair would be as many as their square.
class BlockProducts {
 public:
  explicit BlockProducts(KvTypes type);
  virtual ~BlockProducts() = default;
  BlockProducts(const BlockProducts&) = delete;
  BlockProducts& operator=(const BlockProducts&) = delete;

  // A pass of so many rows begins; its queries are prepared.
  virtual void start(const Pass& /*pass*/, Index /*rows*/) {}
  virtual void logits(Pass& pass, const Block& block, Index D, float scale, Ahead ahead) {
    logits_(pass, block, D, scale, ahead);
  }
  virtual void values(Pass& pass, const Block& block, Index D, Columns columns, Visible halves) {
    values_(pass, block, D, columns, halves);
  }

 private:
  void (*logits_)(Pass& pass, const Block& block, Index D, float scale, Ahead ahead);
  void (*values_)(Pass& pass, const Block& block, Index D, Columns columns, Visible halves);
};

// attention() with products of its caller's choice; in attention.cc.
void attend_with(BlockProducts& products, const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                 MatrixView<const float> q, MatrixView<float> out);

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif

#endif  // per-target guard
