// Gemma 3, for which there are no golden data, against its formulas in double: a toy checkpoint of random weights, read
// through the engine, and a second forward pass written down from the papers, over plain rows and loops, that shares
// nothing with it.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/formulas.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

double gelu_tanh(double z) {
  return 0.5 * z * (1 + std::tanh(std::sqrt(2 / 3.14159265358979324) * (z + 0.044715 * z * z * z)));
}

// Pairs half a head apart.
Row rotate_half(Row x, double position, double theta, double factor) {
  const std::size_t half = x.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const double angle =
        position / factor * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(x.size()));
    const double a = x[i], b = x[i + half];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + half] = a * std::sin(angle) + b * std::cos(angle);
  }
  return x;
}

// Gemma 3: layers 0, 1 and 3 see a window and turn by the local base.
struct Gemma3 {
  static constexpr std::size_t kLayers = 4, kHidden = 64, kHeads = 4, kKvHeads = 2, kDim = 16, kWindow = 8;

  static Json config() {
    return {{"architectures", {"Gemma3ForCausalLM"}},
            {"hidden_size", kHidden},
            {"intermediate_size", 96},
            {"num_hidden_layers", kLayers},
            {"num_attention_heads", kHeads},
            {"num_key_value_heads", kKvHeads},
            {"head_dim", kDim},
            {"vocab_size", 96},
            {"query_pre_attn_scalar", 20},
            {"sliding_window", kWindow},
            {"sliding_window_pattern", 3},
            {"rope_theta", 1000000.0},
            {"rope_local_base_freq", 10000.0},
            {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}},
            {"torch_dtype", "float32"}};
  }
  // `prefix`: what stands for "model." in the names.
  static std::vector<ToyCheckpoint::Tensor> tensors(const std::string& prefix) {
    std::vector<ToyCheckpoint::Tensor> all = {{prefix + "embed_tokens.weight", {96, kHidden}},
                                              {prefix + "norm.weight", {kHidden}}};
    for (std::size_t n = 0; n < kLayers; ++n) {
      const std::string layer = fmt::format("{}layers.{}.", prefix, n);
      for (const char* norm :
           {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"})
        all.push_back({layer + norm + ".weight", {kHidden}});
      all.push_back({layer + "self_attn.q_norm.weight", {kDim}});
      all.push_back({layer + "self_attn.k_norm.weight", {kDim}});
      all.push_back({layer + "self_attn.q_proj.weight", {kHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.k_proj.weight", {kKvHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.v_proj.weight", {kKvHeads * kDim, kHidden}});
      all.push_back({layer + "self_attn.o_proj.weight", {kHidden, kHeads * kDim}});
      all.push_back({layer + "mlp.gate_proj.weight", {96, kHidden}});
      all.push_back({layer + "mlp.up_proj.weight", {96, kHidden}});
      all.push_back({layer + "mlp.down_proj.weight", {kHidden, 96}});
    }
    return all;
  }

  static std::vector<Row> logits(const ToyCheckpoint& w, const std::string& prefix, std::span<const TokenId> ids) {
    constexpr double kEps = 1e-6;
    const DoubleMatrix& embedding = w.matrix(prefix + "embed_tokens.weight");
    std::vector<Row> x;
    for (const TokenId id : ids) x.push_back(times(embedding.row(static_cast<std::size_t>(id)), 8));  // sqrt(64)
    for (std::size_t n = 0; n < kLayers; ++n) {
      const std::string layer = fmt::format("{}layers.{}.", prefix, n);
      const bool local = (n + 1) % 3 != 0;
      const auto normed = [&](const Row& row, const char* norm) {
        return rms_norm(row, w.vector(layer + norm + ".weight"), kEps, 1);
      };
      std::vector<std::vector<Row>> keys(ids.size()), values(ids.size());
      const auto head = [&](const Row& all, std::size_t h, const char* norm, std::size_t t) {
        const Row one = rms_norm(part(all, h * kDim, kDim), w.vector(layer + norm), kEps, 1);
        return rotate_half(one, static_cast<double>(t), local ? 1e4 : 1e6, local ? 1 : 8);
      };
      for (std::size_t t = 0; t < ids.size(); ++t) {
        const Row a = normed(x[t], "input_layernorm");
        const Row q = w.matrix(layer + "self_attn.q_proj.weight").times(a);
        const Row k = w.matrix(layer + "self_attn.k_proj.weight").times(a);
        const Row v = w.matrix(layer + "self_attn.v_proj.weight").times(a);
        for (std::size_t h = 0; h < kKvHeads; ++h) {
          keys[t].push_back(head(k, h, "self_attn.k_norm.weight", t));
          values[t].push_back(part(v, h * kDim, kDim));
        }
        Row attended;
        for (std::size_t h = 0; h < kHeads; ++h) {
          const Row query = head(q, h, "self_attn.q_norm.weight", t);
          const std::size_t first = local && t + 1 > kWindow ? t + 1 - kWindow : 0;
          Row p;
          for (std::size_t j = first; j <= t; ++j) p.push_back(dot(query, keys[j][h / 2]) / std::sqrt(20.0));
          p = softmax(p);
          Row o(kDim, 0.0);
          for (std::size_t j = first; j <= t; ++j) o = plus(o, times(values[j][h / 2], p[j - first]));
          attended.insert(attended.end(), o.begin(), o.end());
        }
        x[t] =
            plus(x[t], normed(w.matrix(layer + "self_attn.o_proj.weight").times(attended), "post_attention_layernorm"));
        const Row m = normed(x[t], "pre_feedforward_layernorm");
        Row gate = w.matrix(layer + "mlp.gate_proj.weight").times(m);
        const Row up = w.matrix(layer + "mlp.up_proj.weight").times(m);
        for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gelu_tanh(gate[i]) * up[i];
        x[t] = plus(x[t], normed(w.matrix(layer + "mlp.down_proj.weight").times(gate), "post_feedforward_layernorm"));
      }
    }
    std::vector<Row> logits;
    for (const Row& row : x)
      logits.push_back(embedding.times(rms_norm(row, w.vector(prefix + "norm.weight"), kEps, 1)));
    return logits;
  }
};

TEST(Gemma3, IsItsFormulas) {
  const ToyCheckpoint checkpoint(Gemma3::config(), Gemma3::tensors("model."), 1);
  const std::vector<TokenId> ids = random_tokens(kTokens, 96, 2);
  const std::vector<Row> expected = Gemma3::logits(checkpoint, "model.", ids);
  expect_near(engine_logits(checkpoint.path(), ids, 64), expected);
  expect_near(engine_logits(checkpoint.path(), ids, 7), expected);
}

TEST(Gemma3, IsFoundInsideAModelThatAlsoSees) {
  Json config = {{"architectures", {"Gemma3ForConditionalGeneration"}}, {"text_config", Gemma3::config()}};
  config["text_config"].erase("architectures");
  const std::vector<TokenId> ids = random_tokens(12, 96, 3);
  for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
    const ToyCheckpoint checkpoint(config, Gemma3::tensors(prefix), 4);
    expect_near(engine_logits(checkpoint.path(), ids, 64), Gemma3::logits(checkpoint, prefix, ids));
  }
}

}  // namespace
}  // namespace jericho
