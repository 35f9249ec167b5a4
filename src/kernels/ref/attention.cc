// Attention over pages as docs/numerics.md 4 defines it. Read this first; never optimise it.
#include "kernels/attention.h"
#include "kernels/attention_steps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/activations.h"
#include "kernels/exp.h"
#include "kernels/lanes.h"
#include "kernels/tanh.h"

namespace jericho::ref {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

const std::byte* tile(const KvHead& kv, Index position, Bytes offset) {
  return kv.pages[static_cast<std::size_t>(position / kPageTokens)] + offset.count;
}

std::vector<float> stored(const KvHead& kv, KvType type, Index position, Bytes offset) {
  std::vector<float> row(static_cast<std::size_t>(kv.head_dim));
  kv_load(type, tile(kv, position, offset), kv.head_dim, position % kPageTokens, row.data());
  return row;
}

// A product of two bf16 rows: per 32 elements an even and an odd chain, added to the accumulator together.
float bf16_dot(const std::vector<float>& a, const std::vector<float>& b) {
  float acc = 0;
  for (std::size_t unit = 0; unit < a.size(); unit += 32) {
    std::array<float, 2> chain{};
    for (std::size_t i = unit; i < std::min(a.size(), unit + 32); ++i)
      chain[i % 2] = std::fma(a[i], b[i], chain[i % 2]);
    acc += chain[0] + chain[1];
  }
  return acc;
}

float lane_dot(const std::vector<float>& a, const std::vector<float>& b) {
  std::array<float, 16> lane{};
  for (std::size_t i = 0; i < a.size(); ++i) lane[i % 16] = std::fma(a[i], b[i], lane[i % 16]);
  return sum_lanes(lane);
}

// q as 8-bit groups, once per head.
struct QuantizedQuery {
  std::vector<std::int8_t> codes;
  std::vector<float> scale;
};

QuantizedQuery quantize_query(std::span<const float> q) {
  const Index D = static_cast<Index>(q.size());
  const Index padded = round_up(D, 32);
  QuantizedQuery out{std::vector<std::int8_t>(static_cast<std::size_t>(padded)),
                     std::vector<float>(static_cast<std::size_t>(padded / 32))};
  std::vector<float> scaled_sum(out.scale.size());
  std::vector<std::int32_t> half_sum(2 * out.scale.size());
  quantize_q8(q.data(), D, padded, 32, {out.codes.data(), out.scale.data(), scaled_sum.data(), half_sum.data()});
  return out;
}

float integer_dot(const QuantizedQuery& q, const KvHead& kv, const std::byte* key_tile, Index slot) {
  float acc = 0;
  for (Index g = 0; g < kv_groups(kv.head_dim); ++g) {
    std::int32_t dot = 0;
    for (Index d = g * 32; d < std::min(kv.head_dim, g * 32 + 32); ++d) {
      dot += q.codes[static_cast<std::size_t>(d)] * kv_code(kv.type.keys, key_tile, kv.head_dim, slot, d).code;
    }
    const float scale = to_float(kv_code(kv.type.keys, key_tile, kv.head_dim, slot, g * 32).scale);
    acc = std::fma(q.scale[static_cast<std::size_t>(g)] * scale, static_cast<float>(dot), acc);
  }
  return acc;
}

bool has_codes(KvType type) { return type == KvType::kQ8 || type == KvType::kQ4; }

// A key in codes, of the block that position lies in.
float channel_dot(const std::vector<float>& q, const KvHead& kv, Index position) {
  KeyTiles tiles;
  const Index block = position / kAttentionBlock * kAttentionBlock, D = kv.head_dim;
  for (Index t = 0; t < kBlockPages; ++t)
    tiles[static_cast<std::size_t>(t)] = tile(kv, block + t * kPageTokens, kv.key_offset);
  std::array<float, 16> lane{};
  std::array<float, 2> chain{};
  for (Index d = 0; d < round_up(D, 32); ++d) {  // as if padded with zeros
    const ChannelCode key = d < D ? channel_code(tiles, D, position - block, d) : ChannelCode{};
    const float value = d < D ? q[static_cast<std::size_t>(d)] : 0.0f;
    float& least = lane[static_cast<std::size_t>(d % 16)];
    least = std::fma(value, to_float(key.least), least);
    float& sum = chain[static_cast<std::size_t>(d % 2)];
    if (d < round_up(D, 2)) sum = std::fma(value * to_float(key.scale), static_cast<float>(key.code), sum);
  }
  return sum_lanes(lane) + (chain[0] + chain[1]);
}

class Query {  // one head's query in the form its page type multiplies with
 public:
  // Of a token that sees the keys below `coded` in codes, where they have two forms.
  Query(const KvHead& kv, std::span<const float> q, AttentionLogits logits, Index coded)
      : kv_(kv), q_(q.begin(), q.end()), logits_(logits), coded_(coded) {
    if (has_codes(kv.type.keys)) quantized_ = quantize_query(q);
    if (kv.type.keys == KvType::kBF16) {
      for (float& value : q_) value = to_float(to_bf16(value * logits.scale));
    }
  }
  [[nodiscard]] float logit(Index position) const {
    const float logit = product(position);
    return logits_.soft_cap > 0 ? logits_.soft_cap * ref::tanh(logit / logits_.soft_cap) : logit;
  }

 private:
  [[nodiscard]] float product(Index position) const {
    if (has_codes(kv_.type.keys)) {
      return integer_dot(quantized_, kv_, tile(kv_, position, kv_.key_offset), position % kPageTokens) * logits_.scale;
    }
    if (kv_.type.keys == KvType::kQ4C) {
      if (position < coded_) return channel_dot(q_, kv_, position) * logits_.scale;
      KvHead full = kv_;
      full.pages = kv_.full_pages;
      return lane_dot(q_, stored(full, KvType::kF16, position, kv_.full_offset)) * logits_.scale;
    }
    const std::vector<float> key = stored(kv_, kv_.type.keys, position, kv_.key_offset);
    return kv_.type.keys == KvType::kBF16 ? bf16_dot(q_, key) : lane_dot(q_, key) * logits_.scale;
  }
  const KvHead& kv_;
  std::vector<float> q_;
  AttentionLogits logits_;
  Index coded_;
  QuantizedQuery quantized_{};
};

// The positions of one block that a token sees, and the block.
struct Visible {
  Index block, from, to;

  [[nodiscard]] std::size_t at(Index position) const { return static_cast<std::size_t>(position - block); }
};
Visible visible(Index block, Index begin, Index end) {
  return {block, std::max(begin, block), std::min(end, block + kAttentionBlock)};
}
using BlockRow = std::span<float, kAttentionBlock>;  // of logits, then weights

float block_logits(const Query& query, Visible visible, BlockRow p) {  // returns the largest
  float maximum = kMinusInfinity;
  for (Index j = visible.from; j < visible.to; ++j) {
    const float logit = query.logit(j);
    p[visible.at(j)] = logit;
    maximum = logit > maximum ? logit : maximum;
  }
  return maximum;
}

float block_weights(float maximum, Visible visible, BlockRow p) {  // returns their sum
  std::array<float, 16> lane{};
  for (Index j = visible.from; j < visible.to; ++j) {
    float& weight = p[visible.at(j)];
    weight = ref::exp(weight - maximum);
    lane[static_cast<std::size_t>(j % 16)] += weight;
  }
  return sum_lanes(lane);
}

// out = out * correction + p V, the columns of the values from `column` on.
void add_values(const KvHead& kv, Visible visible, float correction, std::span<const float, kAttentionBlock> p,
                Index column, std::span<float> out) {
  const auto value_of = [&](Index j) {
    const std::vector<float> row = stored(kv, kv.type.values, j, kv.value_offset);
    return std::vector<float>(row.begin() + column, row.begin() + column + std::ssize(out));
  };
  for (float& value : out) value *= correction;
  if (kv.type.values == KvType::kBF16) {
    for (Index half = visible.block; half < visible.block + kAttentionBlock; half += 32) {
      std::vector<std::array<float, 2>> chain(out.size());
      for (Index j = std::max(visible.from, half); j < std::min(visible.to, half + 32); ++j) {
        const std::vector<float> value = value_of(j);
        const float weight = to_float(to_bf16(p[visible.at(j)]));
        for (std::size_t d = 0; d < out.size(); ++d) {
          float& sum = chain[d][static_cast<std::size_t>(j % 2)];
          sum = std::fma(weight, value[d], sum);
        }
      }
      for (std::size_t d = 0; d < out.size(); ++d) out[d] += chain[d][0] + chain[d][1];
    }
    return;
  }
  for (Index j = visible.from; j < visible.to; ++j) {
    const std::vector<float> value = value_of(j);
    for (std::size_t d = 0; d < out.size(); ++d) out[d] = std::fma(p[visible.at(j)], value[d], out[d]);
  }
}

struct Softmax {  // of the positions so far
  float maximum = kMinusInfinity;
  float sum = 0;
};

// One token's query of one head, which sees positions [begin, end); `out` is not yet divided by the sum.
Softmax attend(const KvHead& kv, const Query& query, Index begin, Index end, Softmax before, std::span<float> out) {
  auto [maximum, sum] = before;
  for (Index block = begin / kAttentionBlock * kAttentionBlock; block < end; block += kAttentionBlock) {
    const Visible seen = visible(block, begin, end);
    std::array<float, kAttentionBlock> p{};
    const float new_maximum = std::max(maximum, block_logits(query, seen, p));
    const float correction = ref::exp(maximum - new_maximum);
    sum = sum * correction + block_weights(new_maximum, seen, p);
    add_values(kv, seen, correction, p, 0, out);
    maximum = new_maximum;
  }
  return {maximum, sum};
}

// Of the steps: block i of those that the token sees, and its row.
Visible step_block(const QueryTokens& token, const AttentionSteps& steps, Index i) {
  return visible((steps.first + i) * kAttentionBlock, token.begin(0), token.end(0));
}
BlockRow step_row(const AttentionSteps& steps, Index head, Index i) {
  return BlockRow(&steps.p(head, i * kAttentionBlock), kAttentionBlock);
}

}  // namespace

void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
               MatrixView<float> out) {
  const Index D = kv.head_dim, columns = out.extent(1) / tokens.heads;
  for (Index t = 0; t < q.extent(0); ++t) {
    for (Index h = 0; h < tokens.heads; ++h) {
      const std::span<float> sums(&out(t, h * columns), static_cast<std::size_t>(columns));
      float* carried = tokens.part.carries() ? &tokens.part.carried(t, 2 * h) : nullptr;
      if (carried == nullptr) std::fill(sums.begin(), sums.end(), 0.0f);
      const Softmax before = carried != nullptr ? Softmax{carried[0], carried[1]} : Softmax{};
      const Query query(kv, {&q(t, h * D), static_cast<std::size_t>(D)}, logits, tokens.coded(t));
      const Softmax s = attend(kv, query, tokens.begin(t), tokens.end(t), before, sums);
      if (carried != nullptr) carried[0] = s.maximum, carried[1] = s.sum;
      if (!tokens.part.last) continue;
      for (float& value : sums) value /= s.sum;
    }
  }
}

void attention_logits(const KvHead& kv, const QueryTokens& token, AttentionLogits logits, MatrixView<const float> q,
                      StepRange blocks, const AttentionSteps& steps) {
  for (Index h = 0; h < steps.heads(); ++h) {
    const Query query(kv, {&q(0, h * kv.head_dim), static_cast<std::size_t>(kv.head_dim)}, logits, token.coded(0));
    for (Index i = blocks.begin; i < blocks.end; ++i)
      steps.maximum(h, i) = block_logits(query, step_block(token, steps, i), step_row(steps, h, i));
  }
}

void attention_weights(const QueryTokens& token, StepRange blocks, const AttentionSteps& steps) {
  for (Index h = 0; h < steps.heads(); ++h) {
    for (Index i = blocks.begin; i < blocks.end; ++i) {
      const float maximum = steps.maximum(h, i);
      steps.correction(h, i) = ref::exp(steps.maximum_before(h, i) - maximum);
      steps.total(h, i) = block_weights(maximum, step_block(token, steps, i), step_row(steps, h, i));
    }
  }
}

void attention_values(const KvHead& kv, const QueryTokens& token, StepRange columns, const AttentionSteps& steps,
                      MatrixView<float> out) {
  const Index width = out.extent(1) / steps.heads();
  for (Index h = 0; h < steps.heads(); ++h) {
    const std::span<float> sums(&out(0, h * width + columns.begin),
                                static_cast<std::size_t>(columns.end - columns.begin));
    if (!token.part.carries()) std::fill(sums.begin(), sums.end(), 0.0f);
    for (Index i = 0; i < steps.blocks(); ++i) {
      add_values(kv, step_block(token, steps, i), steps.correction(h, i), step_row(steps, h, i), columns.begin, sums);
    }
    if (!token.part.last) continue;
    for (float& value : sums) value /= steps.sum(h);
  }
}

}  // namespace jericho::ref
