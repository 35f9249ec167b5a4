// Attention over pages for AVX2 and AVX-512: the online softmax of kernels/attention.h around the products of
// attention-inl.h. A row is one token's query of one head; up to 32 rows go through a block of positions together.
// Start at attend().
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/attention-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

template <KvType kType>
HWY_INLINE void prepare_query(const float* q, Index D, float scale, Index row, Queries& out) {
  if constexpr (kHasCodes<kType>) {
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

  HWY_INLINE Visible visible(Index block) const {
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

// Everything that a pass over the positions works on, some 350 KiB of stack at most; of narrow heads far less.
struct Pass {
  Queries queries;
  TurnedKeys keys;
  Row rows[kMaxRows];
  Softmax softmax;
  alignas(64) float out[kMaxRowValues + 16];
  alignas(64) float p[kMaxRows][kAttentionBlock];
  alignas(64) float value_scales[kAttentionBlock * kMaxGroups];
  alignas(64) float staged[kHalfBlock * kMaxKeyWidth];
  TileCodes key_codes;  // of q4 pages, unpacked
  TileCodes value_codes[kAttentionBlock / kPageTokens];
};

// Turns the logits of rows [first, last) into probabilities and rescales what was summed so far. The rows' corrections
// are computed in lanes: one alone would be a chain of some twenty operations that everything waits for.
HWY_INLINE void softmax_block(Pass& pass, float soft_cap, Index columns, Index stride, Index block, Index first,
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
    const float correction = s.correction[r];
    s.sum[r] = s.sum[r] * correction + probabilities(pass.p[r], pass.rows[r].visible(block), s.maximum[r]);
    if (correction == 1.0f) continue;
    float* out = pass.out + r * stride;
    for (Index d = 0; d < columns; d += 16) store(multiply(load(out + d), set(correction)), out + d);
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

// p V of a half block. Rows that do not see the same positions of it go one by one: every row takes its own, in order.
template <KvType kType, class Values>
struct HalfBlockValues {
  Pass& pass;
  const Values& values;
  Index columns, stride, block, half;

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

// One function per type of values, called by its address: one per pair of types would be as many as their square.
using BlockValues = void (*)(Pass& pass, const std::byte* const* tiles, const LaterTiles& later, Index D, Index columns,
                             Index stride, Index block, Index first, Index last, Visible any);
template <KvType kType>
HWY_NOINLINE void block_values(Pass& pass, const std::byte* const* tiles, const LaterTiles& later, Index D,
                               Index columns, Index stride, Index block, Index first, Index last, Visible any) {
  Q8Tile codes[kAttentionBlock / kPageTokens] = {};
  if constexpr (kHasCodes<kType>) {
    for (Index i = any.from / kPageTokens; i < ceil_div(any.to, kPageTokens); ++i) {
      codes[i] = code_tile<kType>(tiles[i], D, pass.value_codes[i]);
      load_scales(codes[i], kv_groups(D), pass.value_scales + i * kPageTokens * kv_groups(D));
    }
  }
  if constexpr (kType == KvType::kBF16) {
    for (Index r = first; r < last; ++r) {
      for (Index j = 0; j < kAttentionBlock; j += 16) store(round_to_bf16(load(pass.p[r] + j)), pass.p[r] + j);
    }
  }
  const auto stored = stored_values<kType>(tiles, codes, later, D, pass.value_scales);
  for (Index half = 0; half < kAttentionBlock; half += kHalfBlock) {
    if (last - first <= kSharedRows) {
      in_shares(first, last, HalfBlockValues<kType, decltype(stored)>{pass, stored, columns, stride, block, half});
      continue;
    }
    for (Index j = std::max(any.from, half); j < std::min(any.to, half + kHalfBlock); ++j) {
      for (Index d = 0; d < columns; d += 16) store(stored.row(j, d).at(0), pass.staged + (j - half) * stride + d);
    }
    const StagedValues staged{pass.staged, stride, half};
    in_shares(first, last, HalfBlockValues<kType, StagedValues>{pass, staged, columns, stride, block, half});
  }
}

// Heads [head, head + heads) of tokens [token, token + count), all at once; kType is that of the keys.
template <KvType kType>
HWY_NOINLINE void attend(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, BlockValues add_values_of,
                         MatrixView<const float> q, MatrixView<float> result, Index token, Index count, Index head,
                         Index heads) {
  const Index D = kv.head_dim, columns = result.extent(1) / tokens.heads, stride = round_up(D, 32);
  const Index rows = count * heads;
  const Index key_bytes = kv_tile_bytes(kType, D).count;
  const Index value_bytes = kv.value_offset == kv.key_offset ? 0 : kv_tile_bytes(kv.type.values, D).count;
  Pass pass;  // left as it is: what a pass reads, it has written
  pass.queries.stride = stride;
  for (Index row = 0; row < rows; ++row) {
    const Index t = token + row / heads;
    prepare_query<kType>(&q(t, (head + row % heads) * D), D, logits.scale, row, pass.queries);
    pass.rows[row] = {tokens.begin(t), tokens.end(t)};
    std::fill_n(pass.out + row * stride, stride, 0.0f);
  }
  std::fill_n(pass.softmax.maximum, kMaxRows, -std::numeric_limits<float>::infinity());
  std::fill_n(pass.softmax.sum, kMaxRows, 0.0f);
  std::fill_n(pass.softmax.correction, kMaxRows, 0.0f);
  const AttentionPart& part = tokens.part;
  const bool carries = part.carried.data() != nullptr;
  for (Index row = 0; carries && row < rows; ++row) {
    const Index t = token + row / heads, h = head + row % heads;
    pass.softmax.maximum[row] = part.carried(t, 2 * h);
    pass.softmax.sum[row] = part.carried(t, 2 * h + 1);
    std::copy_n(&result(t, h * columns), columns, pass.out + row * stride);
  }
  const Index begin = pass.rows[0].begin, end = pass.rows[rows - 1].end;  // both rise with the tokens
  Index first = 0, last = 0;                                              // the rows that see something of the block
  for (Index block = begin / kAttentionBlock * kAttentionBlock; block < end; block += kAttentionBlock) {
    while (pass.rows[first].end <= block) ++first;
    while (last < rows && pass.rows[last].begin < block + kAttentionBlock) ++last;
    const Visible any{pass.rows[first].visible(block).from, pass.rows[last - 1].visible(block).to};
    const std::byte* values[kAttentionBlock / kPageTokens] = {};
    LaterTiles later_tiles;
    // Codes that few rows want are asked for while p V goes over this block's (StoredCodes), all but their scales.
    const bool with_values = kHasCodes<kType> && kv.type.values == kType && last - first <= kSharedRows;
    const Index asked = with_values ? kPageTokens * code_bytes<kType>(D) : 0;
    for (Index i = any.from / kPageTokens; i < ceil_div(any.to, kPageTokens); ++i) {
      const Index page = block / kPageTokens + i;
      const std::byte* tiles = kv.pages[static_cast<std::size_t>(page)];
      values[i] = tiles + kv.value_offset.count;
      const Index later = page + kAttentionBlock / kPageTokens;
      const std::byte* next = later * kPageTokens < end ? kv.pages[static_cast<std::size_t>(later)] : nullptr;
      const std::byte* keys = tiles + kv.key_offset.count;
      later_tiles.keys[i] = next != nullptr ? next + kv.key_offset.count : keys;
      later_tiles.values[i] = next != nullptr ? next + kv.value_offset.count : values[i];
      if (next != nullptr) prefetch_tile(later_tiles.keys[i] + asked, key_bytes - asked);
      bool turned = false;
      Q8Tile codes{};
      if constexpr (kHasCodes<kType>) {
        codes = code_tile<kType>(keys, D, pass.key_codes);
        turn_scales(codes, kv_groups(D), pass.keys);
        if (last - first > kSharedRows) {
          turn_codes(codes, D, pass.keys);
          in_shares(first, last, TileLogits<kType, true>{pass, keys, codes, D, logits.scale, i * kPageTokens});
          turned = true;
        }
      }
      if (!turned)
        in_shares(first, last, TileLogits<kType, false>{pass, keys, codes, D, logits.scale, i * kPageTokens});
      // Between the products of two tiles: what is asked for at once beyond what can be under way is dropped.
      if (next != nullptr) prefetch_tile(later_tiles.values[i] + asked, value_bytes - asked);
    }
    softmax_block(pass, logits.soft_cap, columns, stride, block, first, last);
    add_values_of(pass, values, later_tiles, D, columns, stride, block, first, last, any);
  }
  for (Index row = 0; row < rows; ++row) {
    const Index t = token + row / heads, h = head + row % heads;
    float* to = &result(t, h * columns);
    if (carries) {
      part.carried(t, 2 * h) = pass.softmax.maximum[row];
      part.carried(t, 2 * h + 1) = pass.softmax.sum[row];
    }
    if (!part.last) {
      std::copy_n(pass.out + row * stride, columns, to);
      continue;
    }
    for (Index d = 0; d < columns; d += 16) {
      const F32x16 quotient = divide(load(pass.out + row * stride + d), set(pass.softmax.sum[row]));
      store_up_to_16(quotient, to + d, columns - d);
    }
  }
}

template <KvType kType>
HWY_NOINLINE void attend_all(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                             BlockValues add_values_of, MatrixView<const float> q, MatrixView<float> out) {
  const Index rows = rows_of_width(kv.head_dim);
  const Index heads_at_once = std::min(rows, tokens.heads), tokens_at_once = rows / heads_at_once;
  for (Index t = 0; t < q.extent(0); t += tokens_at_once) {
    for (Index h = 0; h < tokens.heads; h += heads_at_once) {
      attend<kType>(kv, tokens, logits, add_values_of, q, out, t, std::min(tokens_at_once, q.extent(0) - t), h,
                    std::min(heads_at_once, tokens.heads - h));
    }
  }
}

BlockValues block_values_of(KvType type) {
  switch (type) {
    case KvType::kF32: return block_values<KvType::kF32>;
    case KvType::kF16: return block_values<KvType::kF16>;
    case KvType::kBF16: return block_values<KvType::kBF16>;
    case KvType::kQ8: return block_values<KvType::kQ8>;
    case KvType::kQ4: return block_values<KvType::kQ4>;
  }
  return nullptr;
}

void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
               MatrixView<float> out) {
  JERICHO_CHECK(kv.head_dim <= kMaxKeyWidth, "keys of {} values, at most {}", kv.head_dim, kMaxKeyWidth);
  const BlockValues values = block_values_of(kv.type.values);
  switch (kv.type.keys) {
    case KvType::kF32: return attend_all<KvType::kF32>(kv, tokens, logits, values, q, out);
    case KvType::kF16: return attend_all<KvType::kF16>(kv, tokens, logits, values, q, out);
    case KvType::kBF16: return attend_all<KvType::kBF16>(kv, tokens, logits, values, q, out);
    case KvType::kQ8: return attend_all<KvType::kQ8>(kv, tokens, logits, values, q, out);
    case KvType::kQ4: return attend_all<KvType::kQ4>(kv, tokens, logits, values, q, out);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
