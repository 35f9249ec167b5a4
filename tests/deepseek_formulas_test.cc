// DeepSeek-V2 and V3 against their formulas in double: a toy checkpoint of random weights, read through the engine, and
// a second forward pass written down from the papers, over plain rows and loops, that shares nothing with it.
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

// DeepSeek: layer 0 dense, layer 1 of experts chosen from the better of two groups. Queries compressed or not; keys and
// values expanded per head, as the paper defines them and the engine does not.
struct DeepSeek {
  static constexpr std::size_t kHidden = 64, kHeads = 4, kRank = 32, kNope = 16, kRope = 8, kValue = 12, kExperts = 8;
  bool v3 = true;
  std::size_t q_rank = 24;  // 0: one projection

  [[nodiscard]] Json config() const {
    Json json = {{"architectures", {v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"}},
                 {"hidden_size", kHidden},
                 {"intermediate_size", 96},
                 {"moe_intermediate_size", 40},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", kHeads},
                 {"num_key_value_heads", kHeads},
                 {"vocab_size", 96},
                 {"kv_lora_rank", kRank},
                 {"qk_nope_head_dim", kNope},
                 {"qk_rope_head_dim", kRope},
                 {"v_head_dim", kValue},
                 {"n_routed_experts", kExperts},
                 {"num_experts_per_tok", 2},
                 {"n_shared_experts", 2},
                 {"first_k_dense_replace", 1},
                 {"n_group", 2},
                 {"topk_group", 1},
                 {"topk_method", v3 ? "noaux_tc" : "group_limited_greedy"},
                 {"scoring_func", v3 ? "sigmoid" : "softmax"},
                 {"norm_topk_prob", v3},
                 {"routed_scaling_factor", 2.5},
                 {"rope_theta", 10000.0},
                 {"num_nextn_predict_layers", 1},
                 {"rope_scaling",
                  {{"type", "yarn"},
                   {"factor", 40.0},
                   {"beta_fast", 32},
                   {"beta_slow", 1},
                   {"mscale", 1.0},
                   {"mscale_all_dim", 1.0},
                   {"original_max_position_embeddings", 4096}}}};
    if (q_rank > 0) json["q_lora_rank"] = q_rank;
    return json;
  }

  [[nodiscard]] std::vector<ToyCheckpoint::Tensor> tensors() const {
    std::vector<ToyCheckpoint::Tensor> all = {{"model.embed_tokens.weight", {96, kHidden}},
                                              {"model.norm.weight", {kHidden}},
                                              {"lm_head.weight", {96, kHidden}}};
    for (std::size_t n = 0; n < 2; ++n) {
      const std::string layer = fmt::format("model.layers.{}.", n);
      const auto add = [&](const std::string& name, std::size_t rows, std::size_t cols) {
        const std::vector<Index> shape = {static_cast<Index>(rows), static_cast<Index>(cols)};
        all.push_back({layer + name + ".weight", rows == 1 ? std::vector<Index>{shape[1]} : shape});
      };
      const auto feed_forward = [&](const std::string& name, std::size_t width) {
        add(name + "gate_proj", width, kHidden);
        add(name + "up_proj", width, kHidden);
        add(name + "down_proj", kHidden, width);
      };
      add("input_layernorm", 1, kHidden);
      add("post_attention_layernorm", 1, kHidden);
      if (q_rank > 0) {
        add("self_attn.q_a_proj", q_rank, kHidden);
        add("self_attn.q_a_layernorm", 1, q_rank);
      }
      add(q_rank > 0 ? "self_attn.q_b_proj" : "self_attn.q_proj", kHeads * (kNope + kRope),
          q_rank > 0 ? q_rank : kHidden);
      add("self_attn.kv_a_proj_with_mqa", kRank + kRope, kHidden);
      add("self_attn.kv_a_layernorm", 1, kRank);
      add("self_attn.kv_b_proj", kHeads * (kNope + kValue), kRank);
      add("self_attn.o_proj", kHidden, kHeads * kValue);
      if (n == 0) {
        feed_forward("mlp.", 96);
        continue;
      }
      add("mlp.gate", kExperts, kHidden);
      if (v3) all.push_back({layer + "mlp.gate.e_score_correction_bias", {kExperts}});
      for (std::size_t e = 0; e < kExperts; ++e) feed_forward(fmt::format("mlp.experts.{}.", e), 40);
      feed_forward("mlp.shared_experts.", 80);
    }
    return all;
  }

  // Pairs side by side, turned by YaRN's frequencies.
  static Row rotate(Row x, double position) {
    constexpr double d = kRope, theta = 1e4, original = 4096, factor = 40;
    const auto dimension = [&](double turns) {
      return d * std::log(original / (2 * 3.14159265358979324 * turns)) / (2 * std::log(theta));
    };
    const double low = std::floor(dimension(32)), high = std::ceil(dimension(1));
    for (std::size_t i = 0; i < kRope / 2; ++i) {
      const auto index = static_cast<double>(i);
      const double plain = std::pow(theta, -2 * index / d), ramp = std::clamp((index - low) / (high - low), 0.0, 1.0);
      const double angle = position * (plain / factor * ramp + plain * (1 - ramp));
      const double a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * std::cos(angle) - b * std::sin(angle);
      x[2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  }

  static Row feed_forward(const ToyCheckpoint& w, const std::string& name, const Row& m) {
    Row gate = w.matrix(name + "gate_proj.weight").times(m);
    const Row up = w.matrix(name + "up_proj.weight").times(m);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    return w.matrix(name + "down_proj.weight").times(gate);
  }

  [[nodiscard]] Row experts(const ToyCheckpoint& w, const std::string& mlp, const Row& m) const {
    Row scores = w.matrix(mlp + "gate.weight").times(m);
    if (v3) {
      for (double& s : scores) s = 1 / (1 + std::exp(-s));
    } else {
      scores = softmax(scores);
    }
    const Row choice = v3 ? plus(scores, w.vector(mlp + "gate.e_score_correction_bias")) : scores;
    const auto group_score = [&](std::size_t g) {
      Row in_group = part(choice, g * 4, 4);
      std::sort(in_group.begin(), in_group.end(), std::greater<>());
      return v3 ? in_group[0] + in_group[1] : in_group[0];
    };
    const std::size_t first = group_score(0) >= group_score(1) ? 0 : 4;
    std::vector<std::size_t> chosen = {first, first + 1, first + 2, first + 3};
    std::sort(chosen.begin(), chosen.end(), [&](std::size_t a, std::size_t b) { return choice[a] > choice[b]; });
    chosen.resize(2);
    const double sum = v3 ? scores[chosen[0]] + scores[chosen[1]] : 1;
    Row out = feed_forward(w, mlp + "shared_experts.", m);
    for (const std::size_t e : chosen) {
      const Row y = feed_forward(w, fmt::format("{}experts.{}.", mlp, e), m);
      out = plus(out, times(y, scores[e] / sum * 2.5));
    }
    return out;
  }

  [[nodiscard]] std::vector<Row> logits(const ToyCheckpoint& w, std::span<const TokenId> ids) const {
    constexpr double kEps = 1e-6;
    const double mscale = 0.1 * std::log(40.0) + 1, scale = mscale * mscale / std::sqrt(double{kNope + kRope});
    std::vector<Row> x;
    for (const TokenId id : ids) x.push_back(w.matrix("model.embed_tokens.weight").row(static_cast<std::size_t>(id)));
    for (std::size_t n = 0; n < 2; ++n) {
      const std::string layer = fmt::format("model.layers.{}.", n), self = layer + "self_attn.";
      std::vector<std::vector<Row>> keys(ids.size()), values(ids.size());  // per head
      for (std::size_t t = 0; t < ids.size(); ++t) {
        const auto position = static_cast<double>(t);
        const Row a = rms_norm(x[t], w.vector(layer + "input_layernorm.weight"), kEps);
        Row q = a;
        if (q_rank > 0) {
          q = rms_norm(w.matrix(self + "q_a_proj.weight").times(a), w.vector(self + "q_a_layernorm.weight"), kEps);
          q = w.matrix(self + "q_b_proj.weight").times(q);
        } else {
          q = w.matrix(self + "q_proj.weight").times(a);
        }
        const Row kv = w.matrix(self + "kv_a_proj_with_mqa.weight").times(a);
        const Row c = rms_norm(part(kv, 0, kRank), w.vector(self + "kv_a_layernorm.weight"), kEps);
        const Row shared_key = rotate(part(kv, kRank, kRope), position);
        const Row expanded = w.matrix(self + "kv_b_proj.weight").times(c);
        Row attended;
        for (std::size_t h = 0; h < kHeads; ++h) {
          Row key = part(expanded, h * (kNope + kValue), kNope);
          key.insert(key.end(), shared_key.begin(), shared_key.end());
          keys[t].push_back(key);
          values[t].push_back(part(expanded, h * (kNope + kValue) + kNope, kValue));
          Row query = part(q, h * (kNope + kRope), kNope);
          const Row turned = rotate(part(q, h * (kNope + kRope) + kNope, kRope), position);
          query.insert(query.end(), turned.begin(), turned.end());
          Row p;
          for (std::size_t j = 0; j <= t; ++j) p.push_back(dot(query, keys[j][h]) * scale);
          p = softmax(p);
          Row o(kValue, 0.0);
          for (std::size_t j = 0; j <= t; ++j) o = plus(o, times(values[j][h], p[j]));
          attended.insert(attended.end(), o.begin(), o.end());
        }
        x[t] = plus(x[t], w.matrix(self + "o_proj.weight").times(attended));
        const Row m = rms_norm(x[t], w.vector(layer + "post_attention_layernorm.weight"), kEps);
        x[t] = plus(x[t], n == 0 ? feed_forward(w, layer + "mlp.", m) : experts(w, layer + "mlp.", m));
      }
    }
    std::vector<Row> logits;
    for (const Row& row : x)
      logits.push_back(w.matrix("lm_head.weight").times(rms_norm(row, w.vector("model.norm.weight"), kEps)));
    return logits;
  }
};

TEST(DeepSeek, IsItsFormulasThoughItNeverExpandsKeysAndValues) {
  const std::vector<TokenId> ids = random_tokens(kTokens, 96, 5);
  for (const DeepSeek& model : {DeepSeek{}, DeepSeek{.v3 = false}, DeepSeek{.v3 = false, .q_rank = 0}}) {
    SCOPED_TRACE(fmt::format("v3 {} q rank {}", model.v3, model.q_rank));
    const ToyCheckpoint checkpoint(model.config(), model.tensors(), 6);
    const std::vector<Row> expected = model.logits(checkpoint, ids);
    expect_near(engine_logits(checkpoint.path(), ids, 64), expected);
    expect_near(engine_logits(checkpoint.path(), ids, 7), expected);
  }
}

// The GGUF of a checkpoint of DeepSeek's V3: as newer files hold it, with kv_b split and its first part transposed, or
// as older ones do.
std::filesystem::path write_gguf(const ToyCheckpoint& checkpoint, const TestDirectory& directory, bool split) {
  using D = DeepSeek;
  GgufWriter writer;
  writer.set("general.architecture", "deepseek2");
  const auto set = [&](const std::string& key, GgufValue value) { writer.set("deepseek2." + key, std::move(value)); };
  for (const auto& [key, value] : {std::pair("context_length", 2048),
                                   {"embedding_length", 64},
                                   {"block_count", 2},
                                   {"feed_forward_length", 96},
                                   {"attention.head_count", 4},
                                   {"attention.head_count_kv", split ? 1 : 4},
                                   {"attention.q_lora_rank", 24},
                                   {"attention.kv_lora_rank", 32},
                                   {"attention.key_length", split ? 40 : 24},
                                   {"attention.value_length", split ? 32 : 12},
                                   {"rope.dimension_count", 8},
                                   {"leading_dense_block_count", 1},
                                   {"expert_count", 8},
                                   {"expert_used_count", 2},
                                   {"expert_feed_forward_length", 40},
                                   {"expert_shared_count", 2},
                                   {"expert_group_count", 2},
                                   {"expert_group_used_count", 1},
                                   {"expert_gating_func", 2},
                                   {"rope.scaling.original_context_length", 4096}}) {
    set(key, static_cast<std::uint32_t>(value));
  }
  if (split) set("attention.key_length_mla", std::uint32_t{24}), set("attention.value_length_mla", std::uint32_t{12});
  set("attention.layer_norm_rms_epsilon", 1e-6f);
  set("rope.freq_base", 10000.0f);
  set("rope.scaling.type", std::string("yarn"));
  set("rope.scaling.factor", 40.0f);
  set("rope.scaling.yarn_log_multiplier", 0.1f);
  set("expert_weights_norm", true);
  set("expert_weights_scale", 2.5f);

  std::vector<std::vector<float>> data;
  const auto put = [&](const std::string& name, std::vector<Index> shape, const Row& values) {
    writer.add_tensor(name, DType::kF32, std::move(shape));
    data.emplace_back(values.begin(), values.end());
  };
  const auto copy = [&](const std::string& to, const std::string& from) {
    const DoubleMatrix& m = checkpoint.matrix(from);
    const auto rows = static_cast<Index>(m.rows), cols = static_cast<Index>(m.cols);
    put(to, rows == 1 ? std::vector<Index>{cols} : std::vector<Index>{rows, cols}, m.values);
  };
  copy("token_embd.weight", "model.embed_tokens.weight");
  copy("output_norm.weight", "model.norm.weight");
  copy("output.weight", "lm_head.weight");
  for (int n = 0; n < 2; ++n) {
    const std::string to = fmt::format("blk.{}.", n), from = fmt::format("model.layers.{}.", n);
    for (const auto& [gguf, hf] : {std::pair("attn_norm", "input_layernorm"),
                                   {"ffn_norm", "post_attention_layernorm"},
                                   {"attn_q_a", "self_attn.q_a_proj"},
                                   {"attn_q_a_norm", "self_attn.q_a_layernorm"},
                                   {"attn_q_b", "self_attn.q_b_proj"},
                                   {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
                                   {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
                                   {"attn_output", "self_attn.o_proj"}}) {
      copy(to + gguf + ".weight", from + hf + ".weight");
    }
    const DoubleMatrix& kv_b = checkpoint.matrix(from + "self_attn.kv_b_proj.weight");
    if (split) {
      Row k_b, v_b;
      for (std::size_t h = 0; h < D::kHeads; ++h) {
        const std::size_t begin = h * (D::kNope + D::kValue);
        for (std::size_t r = 0; r < D::kRank; ++r) {
          for (std::size_t d = 0; d < D::kNope; ++d) k_b.push_back(kv_b.row(begin + d)[r]);
        }
        for (std::size_t d = 0; d < D::kValue; ++d) {
          const Row row = kv_b.row(begin + D::kNope + d);
          v_b.insert(v_b.end(), row.begin(), row.end());
        }
      }
      put(to + "attn_k_b.weight", {D::kHeads, D::kRank, D::kNope}, k_b);
      put(to + "attn_v_b.weight", {D::kHeads, D::kValue, D::kRank}, v_b);
    } else {
      copy(to + "attn_kv_b.weight", from + "self_attn.kv_b_proj.weight");
    }
    const std::string mlp = from + "mlp.";
    if (n == 1) copy(to + "ffn_gate_inp.weight", mlp + "gate.weight");
    if (n == 1) copy(to + "exp_probs_b.bias", mlp + "gate.e_score_correction_bias");
    for (const char* part : {"gate", "up", "down"}) {
      const std::string projection = std::string(part) + "_proj.weight";
      if (n == 0) {
        copy(fmt::format("{}ffn_{}.weight", to, part), mlp + projection);
        continue;
      }
      copy(fmt::format("{}ffn_{}_shexp.weight", to, part), mlp + "shared_experts." + projection);
      Row stack;
      DoubleMatrix one;
      for (std::size_t e = 0; e < D::kExperts; ++e) {
        one = checkpoint.matrix(fmt::format("{}experts.{}.{}", mlp, e, projection));
        stack.insert(stack.end(), one.values.begin(), one.values.end());
      }
      put(fmt::format("{}ffn_{}_exps.weight", to, part),
          {D::kExperts, static_cast<Index>(one.rows), static_cast<Index>(one.cols)}, stack);
    }
  }
  std::ostringstream out;
  writer.begin(out);
  for (const auto& values : data) writer.append(std::as_bytes(std::span(values)));
  JERICHO_CHECK(writer.complete(), "{} tensors", data.size());
  return directory.put("model.gguf", out.str());
}

TEST(DeepSeek, HasTheSameBitsInEveryForm) {
  const DeepSeek model;
  const ToyCheckpoint checkpoint(model.config(), model.tensors(), 7);
  const std::vector<TokenId> ids = random_tokens(kTokens, 96, 8);
  const std::vector<float> expected = engine_logits(checkpoint.path(), ids, 64);
  for (const bool split : {true, false}) {
    const TestDirectory directory;
    EXPECT_EQ(engine_logits(write_gguf(checkpoint, directory, split), ids, 64), expected) << "split " << split;
  }
}

}  // namespace
}  // namespace jericho
