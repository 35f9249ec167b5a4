// Granite with experts against its formulas in double: a toy checkpoint of random weights under the names of
// transformers, read through the engine, and a second forward pass over plain rows and loops that shares nothing with
// it.
#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/formulas.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

struct GraniteMoe {
  static constexpr std::size_t kLayers = 2, kHidden = 64, kHeads = 4, kKvHeads = 2, kDim = 16, kSize = 40, kExperts = 6,
                               kChosen = 3, kVocab = 96;
  static constexpr double kEmbedding = 6, kResidual = 0.3, kAttention = 0.2, kLogits = 4;

  static Json config() {
    return {{"architectures", {"GraniteMoeForCausalLM"}},
            {"hidden_size", kHidden},
            {"intermediate_size", kSize},
            {"num_hidden_layers", kLayers},
            {"num_attention_heads", kHeads},
            {"num_key_value_heads", kKvHeads},
            {"vocab_size", kVocab},
            {"rms_norm_eps", 1e-6},
            {"rope_theta", 10000.0},
            {"num_local_experts", kExperts},
            {"num_experts_per_tok", kChosen},
            {"embedding_multiplier", kEmbedding},
            {"residual_multiplier", kResidual},
            {"attention_multiplier", kAttention},
            {"logits_scaling", kLogits}};
  }

  static std::vector<ToyCheckpoint::Tensor> tensors() {
    std::vector<ToyCheckpoint::Tensor> all = {{"model.embed_tokens.weight", {kVocab, kHidden}},
                                              {"model.norm.weight", {kHidden}}};
    for (std::size_t n = 0; n < kLayers; ++n) {
      const std::string layer = fmt::format("model.layers.{}.", n);
      all.push_back({layer + "input_layernorm.weight", {kHidden}});
      all.push_back({layer + "post_attention_layernorm.weight", {kHidden}});
      all.push_back({layer + "self_attn.q_proj.weight", {kHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.k_proj.weight", {kKvHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.v_proj.weight", {kKvHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.o_proj.weight", {kHidden, kHeads * kDim}});
      all.push_back({layer + "block_sparse_moe.router.layer.weight", {kExperts, kHidden}});
      all.push_back({layer + "block_sparse_moe.input_linear.weight", {kExperts, 2 * kSize, kHidden}});
      all.push_back({layer + "block_sparse_moe.output_linear.weight", {kExperts, kHidden, kSize}});
    }
    return all;
  }

  static Row rotate(Row x, double position) {
    for (std::size_t i = 0; i < kDim / 2; ++i) {
      const double angle = position * std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(kDim));
      const double a = x[i], b = x[i + kDim / 2];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + kDim / 2] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  }

  // The weights are the softmax over the chosen logits alone.
  static Row experts(const ToyCheckpoint& w, const std::string& block, const Row& m) {
    const Row logits = w.matrix(block + "router.layer.weight").times(m);
    std::vector<std::size_t> order(kExperts);
    for (std::size_t e = 0; e < kExperts; ++e) order[e] = e;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    order.resize(kChosen);
    Row chosen;
    for (const std::size_t e : order) chosen.push_back(logits[e]);
    const Row weights = softmax(chosen);
    const DoubleMatrix &in = w.matrix(block + "input_linear.weight"), &out = w.matrix(block + "output_linear.weight");
    Row sum(kHidden, 0.0);
    for (std::size_t i = 0; i < kChosen; ++i) {
      Row gated(kSize);
      for (std::size_t f = 0; f < kSize; ++f) {
        const double z = dot(in.row(order[i] * 2 * kSize + f), m),
                     up = dot(in.row(order[i] * 2 * kSize + kSize + f), m);
        gated[f] = z / (1 + std::exp(-z)) * up;
      }
      for (std::size_t c = 0; c < kHidden; ++c) sum[c] += weights[i] * dot(out.row(order[i] * kHidden + c), gated);
    }
    return sum;
  }

  static std::vector<Row> logits(const ToyCheckpoint& w, std::span<const TokenId> ids) {
    constexpr double kEps = 1e-6;
    const DoubleMatrix& embedding = w.matrix("model.embed_tokens.weight");
    std::vector<Row> x;
    for (const TokenId id : ids) x.push_back(times(embedding.row(static_cast<std::size_t>(id)), kEmbedding));
    for (std::size_t n = 0; n < kLayers; ++n) {
      const std::string layer = fmt::format("model.layers.{}.", n);
      std::vector<std::vector<Row>> keys(ids.size()), values(ids.size());
      for (std::size_t t = 0; t < ids.size(); ++t) {
        const Row a = rms_norm(x[t], w.vector(layer + "input_layernorm.weight"), kEps);
        const Row q = w.matrix(layer + "self_attn.q_proj.weight").times(a);
        const Row k = w.matrix(layer + "self_attn.k_proj.weight").times(a);
        const Row v = w.matrix(layer + "self_attn.v_proj.weight").times(a);
        for (std::size_t h = 0; h < kKvHeads; ++h) {
          keys[t].push_back(rotate(part(k, h * kDim, kDim), static_cast<double>(t)));
          values[t].push_back(part(v, h * kDim, kDim));
        }
        Row attended;
        for (std::size_t h = 0; h < kHeads; ++h) {
          const Row query = rotate(part(q, h * kDim, kDim), static_cast<double>(t));
          Row p;
          for (std::size_t j = 0; j <= t; ++j) p.push_back(kAttention * dot(query, keys[j][h / 2]));
          p = softmax(p);
          Row o(kDim, 0.0);
          for (std::size_t j = 0; j <= t; ++j) o = plus(o, times(values[j][h / 2], p[j]));
          attended.insert(attended.end(), o.begin(), o.end());
        }
        x[t] = plus(x[t], times(w.matrix(layer + "self_attn.o_proj.weight").times(attended), kResidual));
        const Row m = rms_norm(x[t], w.vector(layer + "post_attention_layernorm.weight"), kEps);
        x[t] = plus(x[t], times(experts(w, layer + "block_sparse_moe.", m), kResidual));
      }
    }
    std::vector<Row> logits;
    for (const Row& row : x)
      logits.push_back(times(embedding.times(rms_norm(row, w.vector("model.norm.weight"), kEps)), 1 / kLogits));
    return logits;
  }
};

TEST(GraniteMoe, IsItsFormulas) {
  const ToyCheckpoint checkpoint(GraniteMoe::config(), GraniteMoe::tensors(), 1);
  const std::vector<TokenId> ids = random_tokens(kTokens, GraniteMoe::kVocab, 2);
  const std::vector<Row> expected = GraniteMoe::logits(checkpoint, ids);
  expect_near(engine_logits(checkpoint.path(), ids, 64), expected);
  expect_near(engine_logits(checkpoint.path(), ids, 7), expected);
}

}  // namespace
}  // namespace jericho
