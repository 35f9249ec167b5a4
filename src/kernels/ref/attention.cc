// Attention over pages as docs/numerics.md 4 defines it. Read this first; never optimise it.
#include "kernels/attention.h"

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

class Query {  // one head's query in the form its page type multiplies with
 public:
  Query(const KvHead& kv, std::span<const float> q, AttentionLogits logits)
      : kv_(kv), q_(q.begin(), q.end()), logits_(logits) {
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
    const std::vector<float> key = stored(kv_, kv_.type.keys, position, kv_.key_offset);
    return kv_.type.keys == KvType::kBF16 ? bf16_dot(q_, key) : lane_dot(q_, key) * logits_.scale;
  }
  const KvHead& kv_;
  std::vector<float> q_;
  AttentionLogits logits_;
  QuantizedQuery quantized_{};
};

// out += p V for the visible positions [begin, end) of the block that starts at `block`.
void add_values(const KvHead& kv, Index block, Index begin, Index end, const std::array<float, kAttentionBlock>& p,
                std::span<float> out) {
  if (kv.type.values == KvType::kBF16) {
    for (Index half = block; half < block + kAttentionBlock; half += 32) {
      std::vector<std::array<float, 2>> chain(out.size());
      for (Index j = std::max(begin, half); j < std::min(end, half + 32); ++j) {
        const std::vector<float> value = stored(kv, kv.type.values, j, kv.value_offset);
        const float weight = to_float(to_bf16(p[static_cast<std::size_t>(j - block)]));
        for (std::size_t d = 0; d < out.size(); ++d) {
          float& sum = chain[d][static_cast<std::size_t>(j % 2)];
          sum = std::fma(weight, value[d], sum);
        }
      }
      for (std::size_t d = 0; d < out.size(); ++d) out[d] += chain[d][0] + chain[d][1];
    }
    return;
  }
  for (Index j = begin; j < end; ++j) {
    const std::vector<float> value = stored(kv, kv.type.values, j, kv.value_offset);
    for (std::size_t d = 0; d < out.size(); ++d)
      out[d] = std::fma(p[static_cast<std::size_t>(j - block)], value[d], out[d]);
  }
}

struct Softmax {  // of the positions so far
  float maximum = kMinusInfinity;
  float sum = 0;
};

// One token's query of one head, which sees positions [begin, end); `out` is not yet divided by the sum.
Softmax attend(const KvHead& kv, std::span<const float> q, Index begin, Index end, AttentionLogits logits,
               Softmax before, std::span<float> out) {
  const Query query(kv, q, logits);
  auto [maximum, sum] = before;
  for (Index block = begin / kAttentionBlock * kAttentionBlock; block < end; block += kAttentionBlock) {
    const Index from = std::max(begin, block);
    const Index to = std::min(end, block + kAttentionBlock);
    std::array<float, kAttentionBlock> p{};  // logits, then probabilities
    float block_maximum = kMinusInfinity;
    for (Index j = from; j < to; ++j) {
      float& logit = p[static_cast<std::size_t>(j - block)];
      logit = query.logit(j);
      block_maximum = logit > block_maximum ? logit : block_maximum;
    }
    const float new_maximum = std::max(maximum, block_maximum);
    const float correction = ref::exp(maximum - new_maximum);
    sum *= correction;
    for (float& value : out) value *= correction;
    std::array<float, 16> lane{};
    for (Index j = from; j < to; ++j) {
      float& weight = p[static_cast<std::size_t>(j - block)];
      weight = ref::exp(weight - new_maximum);
      lane[static_cast<std::size_t>(j % 16)] += weight;
    }
    sum += sum_lanes(lane);
    add_values(kv, block, from, to, p, out);
    maximum = new_maximum;
  }
  return {maximum, sum};
}

}  // namespace

void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
               MatrixView<float> out) {
  const Index D = kv.head_dim, columns = out.extent(1) / tokens.heads;
  for (Index t = 0; t < q.extent(0); ++t) {
    for (Index h = 0; h < tokens.heads; ++h) {
      const std::span<float> sums(&out(t, h * columns), static_cast<std::size_t>(columns));
      float* carried = tokens.part.carried.data() != nullptr ? &tokens.part.carried(t, 2 * h) : nullptr;
      if (carried == nullptr) std::fill(sums.begin(), sums.end(), 0.0f);
      const Softmax before = carried != nullptr ? Softmax{carried[0], carried[1]} : Softmax{};
      const Softmax s =
          attend(kv, {&q(t, h * D), static_cast<std::size_t>(D)}, tokens.begin(t), tokens.end(t), logits, before, sums);
      if (carried != nullptr) carried[0] = s.maximum, carried[1] = s.sum;
      if (!tokens.part.last) continue;
      for (float& value : sums) value /= s.sum;
    }
  }
}

}  // namespace jericho::ref
