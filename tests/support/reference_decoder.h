// For tests only: a decoder's forward pass in double precision, whole sequences at once, plain loops that follow the
// formulas of the papers and share no code with the blocks of src/models but the dequantization of a row. Start at
// logits().
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/packed_matrix.h"
#include "models/config.h"
#include "models/weight_list.h"

namespace jericho {

class ReferenceDecoder {
 public:
  using Row = std::vector<double>;
  using Rows = std::vector<Row>;  // one per token

  ReferenceDecoder(const ModelConfig& config, const DecoderWeights& weights, bool long_context = false)
      : c_(config), w_(weights), long_context_(long_context) {}

  [[nodiscard]] Rows logits(std::span<const std::int32_t> tokens) const {
    Rows x;
    for (const std::int32_t token : tokens) {
      x.push_back(row_of(w_.embedding, token));
      for (double& value : x.back()) value *= double{c_.embedding_scale};
    }
    for (std::size_t n = 0; n < c_.layers.size(); ++n) {
      for (Index pass = 0; pass < c_.layer_passes; ++pass) run_layer(c_.layers[n], w_.layers[n], x);
    }
    Rows out;
    for (const Row& row : x) {
      out.push_back(product({w_.head, {}}, normed(row, w_.norm)));
      for (double& value : out.back()) value *= double{c_.logit_scale};
    }
    return out;
  }

 private:
  static Row row_of(const PackedMatrix& matrix, Index row) {
    std::vector<float> values(static_cast<std::size_t>(matrix.cols));
    dequantize_row(matrix, row, values.data());
    return {values.begin(), values.end()};
  }

  static Row product(const LinearWeight& w, const Row& x) {
    Row y;
    for (Index n = 0; n < w.matrix.rows; ++n) {
      const Row row = row_of(w.matrix, n);
      y.push_back(std::inner_product(row.begin(), row.end(), x.begin(),
                                     w.bias.empty() ? 0.0 : double{w.bias[static_cast<std::size_t>(n)]}));
    }
    return y;
  }

  // Each run of weight.size() values on its own.
  [[nodiscard]] Row normed(const Row& x, std::span<const float> weight) const {
    Row y = x;
    for (std::size_t begin = 0; begin < x.size(); begin += weight.size()) {
      double squares = 0;
      for (std::size_t i = 0; i < weight.size(); ++i) squares += x[begin + i] * x[begin + i];
      const double root = std::sqrt(squares / static_cast<double>(weight.size()) + double{c_.rms_norm_eps});
      for (std::size_t i = 0; i < weight.size(); ++i) y[begin + i] = x[begin + i] / root * double{weight[i]};
    }
    return y;
  }

  void run_layer(const LayerConfig& layer, const DecoderLayer& w, Rows& x) const {
    Rows a;
    for (const Row& row : x) a.push_back(normed(row, w.attention_norm));
    add(attention(layer, w, a), x);
    Rows m;
    for (const Row& row : x) {
      const Row input = normed(row, w.feed_forward_norm);
      m.push_back(layer.feed_forward == FeedForward::kExperts ? experts(w, input)
                                                              : feed_forward(w.gate, w.up, w.down, w, input));
    }
    add(m, x);
  }

  void add(const Rows& branch, Rows& x) const {
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += double{c_.residual_scale} * branch[t][i];
    }
  }

  void rotate(std::size_t position, Row& heads) const {
    const RopeConfig& r = c_.rope;
    const auto half = static_cast<std::size_t>(r.dims / 2);
    double magnitude = 1;
    if (r.scaling == RopeScaling::kLongRope) {
      magnitude = r.attention_factor.value_or(
          r.factor <= 1
              ? 1.0
              : std::sqrt(1 + std::log(r.factor) / std::log(static_cast<double>(r.original_max_position_embeddings))));
    }
    for (std::size_t begin = 0; begin < heads.size(); begin += static_cast<std::size_t>(c_.head_dim)) {
      for (std::size_t i = 0; i < half; ++i) {
        double frequency = std::pow(r.theta, -2 * static_cast<double>(i) / static_cast<double>(r.dims));
        if (r.scaling == RopeScaling::kLongRope) frequency /= (long_context_ ? r.long_factor : r.short_factor)[i];
        const double angle = static_cast<double>(position) * frequency;
        const double cos = std::cos(angle) * magnitude, sin = std::sin(angle) * magnitude;
        const double first = heads[begin + i], second = heads[begin + i + half];
        heads[begin + i] = first * cos - second * sin;
        heads[begin + i + half] = second * cos + first * sin;
      }
    }
  }

  [[nodiscard]] Rows attention(const LayerConfig& layer, const DecoderLayer& w, const Rows& x) const {
    Rows q, k, v, out;
    for (std::size_t t = 0; t < x.size(); ++t) {
      q.push_back(product(w.q, x[t]));
      k.push_back(product(w.k, x[t]));
      v.push_back(product(w.v, x[t]));
      if (c_.qk_norm != QkNorm::kNone) q[t] = normed(q[t], w.q_norm), k[t] = normed(k[t], w.k_norm);
      if (c_.clip_qkv) {
        const double limit{*c_.clip_qkv};
        for (Row* row : {&q[t], &k[t], &v[t]}) {
          for (double& value : *row) value = std::clamp(value, -limit, limit);
        }
      }
      if (layer.rope != LayerRope::kNone) rotate(t, q[t]), rotate(t, k[t]);
    }
    const auto D = static_cast<std::size_t>(c_.head_dim);
    const auto shared = static_cast<std::size_t>(c_.num_attention_heads / c_.num_key_value_heads);
    const double scale = c_.attention_scale != 0 ? double{c_.attention_scale} : 1 / std::sqrt(static_cast<double>(D));
    for (std::size_t t = 0; t < x.size(); ++t) {
      const auto window = static_cast<std::size_t>(layer.window);
      const std::size_t begin = window > 0 && t + 1 > window ? t + 1 - window : 0;
      Row heads(q[t].size(), 0.0);
      for (std::size_t h = 0; h < static_cast<std::size_t>(c_.num_attention_heads); ++h) {
        const std::size_t from = h / shared * D;
        Row p;
        for (std::size_t j = begin; j <= t; ++j)
          p.push_back(std::exp(
              scale * std::inner_product(q[t].begin() + h * D, q[t].begin() + (h + 1) * D, k[j].begin() + from, 0.0)));
        const double total = std::accumulate(p.begin(), p.end(), 0.0);
        for (std::size_t j = begin; j <= t; ++j) {
          for (std::size_t d = 0; d < D; ++d) heads[h * D + d] += p[j - begin] / total * v[j][from + d];
        }
      }
      if (c_.sub_norms) heads = normed(heads, w.attention_sub_norm);
      out.push_back(product(w.o, heads));
    }
    return out;
  }

  [[nodiscard]] Row feed_forward(const LinearWeight& gate, const LinearWeight& up, const LinearWeight& down,
                                 const DecoderLayer& w, const Row& x) const {
    Row g = product(gate, x);
    const Row u = product(up, x);
    for (std::size_t i = 0; i < g.size(); ++i) {
      const double z = g[i];
      g[i] = (c_.activation == Activation::kRelu2 ? std::pow(std::max(z, 0.0), 2) : z / (1 + std::exp(-z))) * u[i];
    }
    return product(down, c_.sub_norms ? normed(g, w.feed_forward_sub_norm) : g);
  }

  // Softmax routing without groups, which the families of this reference have.
  [[nodiscard]] Row experts(const DecoderLayer& w, const Row& x) const {
    Row p = product({w.router, {}}, x);
    double total = 0;
    for (double& logit : p) total += logit = std::exp(logit);
    std::vector<std::size_t> order(p.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p[a] > p[b]; });
    order.resize(static_cast<std::size_t>(c_.moe.experts_per_token));
    double chosen = 0;
    for (const std::size_t e : order) chosen += p[e];
    Row out(x.size(), 0.0);
    for (const std::size_t e : order) {
      const ExpertWeights& expert = w.experts[e];
      const Row y = feed_forward({expert.gate, {}}, {expert.up, {}}, {expert.down, {}}, w, x);
      for (std::size_t i = 0; i < y.size(); ++i) out[i] += p[e] / (c_.moe.normalize ? chosen : total) * y[i];
    }
    if (c_.moe.shared_intermediate_size == 0) return out;
    const double open = c_.moe.shared_gate ? 1 / (1 + std::exp(-product({w.shared_router, {}}, x)[0])) : 1;
    const Row y = feed_forward(w.gate, w.up, w.down, w, x);
    for (std::size_t i = 0; i < y.size(); ++i) out[i] += open * y[i];
    return out;
  }

  const ModelConfig& c_;
  const DecoderWeights& w_;
  bool long_context_;
};

}  // namespace jericho
