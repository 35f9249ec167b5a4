// Attention over pages for AVX2 and AVX-512: the online softmax of kernels/attention.h around the products of
// attention-inl.h, for four heads of a KV group at a time or for one. Start at attend().
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

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

template <KvType kType, int kHeads>
HWY_INLINE void prepare_query(const float* q, Index D, float scale, int h, Queries<kHeads>& out) {
  const Index padded = round_up(D, 32);
  if constexpr (kType == KvType::kQ8) {
    alignas(64) std::int8_t codes[kMaxKeyWidth];
    float scaled_sum[kMaxGroups];
    std::int32_t half_sum[2 * kMaxGroups];
    quantize_q8(q, D, padded, {codes, out.scale[h], scaled_sum, half_sum});
    for (Index d = 0; d < padded; ++d) out.code[h][d] = codes[d];
    return;
  }
  for (Index d = 0; d < padded; ++d) out.value[h][d] = d < D ? q[d] : 0.0f;
  if constexpr (kType == KvType::kBF16) {
    for (Index d = 0; d < padded; d += 16) {
      store(round_to_bf16(multiply(load(out.value[h] + d), set(scale))), out.value[h] + d);
    }
  }
}

template <KvType kType, int kHeads>
HWY_INLINE void tile_logits(const std::byte* keys, Index D, const Queries<kHeads>& q, float scale,
                            float (*logit)[kAttentionBlock]) {
  if constexpr (kType == KvType::kF32) float_logits(reinterpret_cast<const float*>(keys), D, q, scale, logit);
  if constexpr (kType == KvType::kF16) float_logits(reinterpret_cast<const F16*>(keys), D, q, scale, logit);
  if constexpr (kType == KvType::kBF16) bf16_logits(reinterpret_cast<const BF16*>(keys), D, q, logit);
  if constexpr (kType == KvType::kQ8) q8_logits(q8_tile(keys, D), D, q, scale, logit);
}

struct RunningSoftmax {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

// Turns a block's logits into probabilities (0 for positions that are not visible) and rescales what was summed so far.
HWY_INLINE void softmax_block(float* p, Visible visible, float soft_cap, RunningSoftmax& state, float* out,
                              Index columns) {
  if (soft_cap > 0) {
    for (Index j = 0; j < kAttentionBlock; j += 16) store(soft_capped(load(p + j), soft_cap), p + j);
  }
  for (Index j = 0; j < visible.from; ++j) p[j] = -std::numeric_limits<float>::infinity();
  for (Index j = visible.to; j < kAttentionBlock; ++j) p[j] = -std::numeric_limits<float>::infinity();
  F32x16 largest = set(-std::numeric_limits<float>::infinity());
  for (Index j = 0; j < kAttentionBlock; j += 16) largest = greater(load(p + j), largest);  // passes over NaN
  const float block_maximum = maximum(largest);
  const float new_maximum = state.maximum < block_maximum ? block_maximum : state.maximum;
  const float correction = ref::exp(state.maximum - new_maximum);
  state.maximum = new_maximum;
  for (Index j = 0; j < kAttentionBlock; j += 16) store(exp(subtract(load(p + j), set(new_maximum))), p + j);
  for (Index j = 0; j < visible.from; ++j) p[j] = 0;
  for (Index j = visible.to; j < kAttentionBlock; ++j) p[j] = 0;
  F32x16 lanes = zero();
  for (Index j = 0; j < kAttentionBlock; j += 16) lanes = add(lanes, load(p + j));
  state.sum = state.sum * correction + sum(lanes);
  if (correction == 1.0f) return;
  for (Index d = 0; d < columns; d += 16) store(multiply(load(out + d), set(correction)), out + d);
}

template <KvType kType, int kHeads>
HWY_INLINE void block_values(const std::byte* const* tiles, Index D, Index columns, Visible visible,
                             float (*p)[kAttentionBlock], float (*out)[kMaxKeyWidth]) {
  if constexpr (kType == KvType::kBF16) {
    for (int h = 0; h < kHeads; ++h) {
      for (Index j = 0; j < kAttentionBlock; j += 16) store(round_to_bf16(load(p[h] + j)), p[h] + j);
    }
    for (Index d = 0; d < columns; d += 16) add_bf16_values<kHeads>(tiles, D, visible, p, d, out);
  } else {
    constexpr int kParts = kHeads == 1 ? 4 : 2;
    Index d = 0;
    for (; d + 16 * kParts <= columns; d += 16 * kParts)
      add_values<kType, kHeads, kParts>(tiles, D, visible, p, d, out);
    for (; d < columns; d += 16) add_values<kType, kHeads, 1>(tiles, D, visible, p, d, out);
  }
}

// Heads [first, first + count) of q; a short group is filled up with its last head, whose result is written once.
template <KvType kType, int kHeads>
HWY_NOINLINE void attend(const KvHead& kv, MatrixView<const float> q, Index first, Index count, Index begin, Index end,
                         AttentionLogits logits, MatrixView<float> result) {
  const Index D = kv.head_dim;
  const Index columns = result.extent(1);
  Queries<kHeads> queries;
  for (int h = 0; h < kHeads; ++h) {
    prepare_query<kType>(q.row(first + std::min<Index>(h, count - 1)).data(), D, logits.scale, h, queries);
  }
  alignas(64) float out[kHeads][kMaxKeyWidth];
  alignas(64) float p[kHeads][kAttentionBlock];
  RunningSoftmax state[kHeads];
  for (int h = 0; h < kHeads; ++h) std::fill_n(out[h], round_up(columns, 16), 0.0f);
  for (Index block = begin / kAttentionBlock * kAttentionBlock; block < end; block += kAttentionBlock) {
    const Visible visible{std::max(begin, block) - block, std::min(end, block + kAttentionBlock) - block};
    const std::byte* values[kAttentionBlock / kPageTokens] = {};
    for (Index i = visible.from / kPageTokens; i < ceil_div(visible.to, kPageTokens); ++i) {
      const std::byte* page = kv.pages[static_cast<std::size_t>(block / kPageTokens + i)];
      values[i] = page + kv.value_offset.count;
      float(*logit)[kAttentionBlock] = reinterpret_cast<float(*)[kAttentionBlock]>(&p[0][i * kPageTokens]);
      tile_logits<kType>(page + kv.key_offset.count, D, queries, logits.scale, logit);
    }
    for (int h = 0; h < kHeads; ++h) softmax_block(p[h], visible, logits.soft_cap, state[h], out[h], columns);
    block_values<kType, kHeads>(values, D, columns, visible, p, out);
  }
  for (Index h = 0; h < count; ++h) {
    for (Index d = 0; d < columns; d += 16) {
      const F32x16 quotient = divide(load(out[h] + d), set(state[h].sum));
      store_up_to_16(quotient, result.row(first + h).data() + d, columns - d);
    }
  }
}

template <KvType kType>
HWY_NOINLINE void attend_all(const KvHead& kv, MatrixView<const float> q, Index begin, Index end,
                             AttentionLogits logits, MatrixView<float> out) {
  for (Index first = 0; first < q.extent(0); first += 4) {
    const Index count = std::min<Index>(4, q.extent(0) - first);
    if (count == 1) {
      attend<kType, 1>(kv, q, first, count, begin, end, logits, out);
    } else {
      attend<kType, 4>(kv, q, first, count, begin, end, logits, out);
    }
  }
}

void attention(const KvHead& kv, MatrixView<const float> q, Index begin, Index end, AttentionLogits logits,
               MatrixView<float> out) {
  JERICHO_CHECK(kv.head_dim <= kMaxKeyWidth, "keys of {} values, at most {}", kv.head_dim, kMaxKeyWidth);
  switch (kv.type) {
    case KvType::kF32: return attend_all<KvType::kF32>(kv, q, begin, end, logits, out);
    case KvType::kF16: return attend_all<KvType::kF16>(kv, q, begin, end, logits, out);
    case KvType::kBF16: return attend_all<KvType::kBF16>(kv, q, begin, end, logits, out);
    case KvType::kQ8: return attend_all<KvType::kQ8>(kv, q, begin, end, logits, out);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
