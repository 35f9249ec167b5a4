// Models with state spaces against the same forward pass written down from the formulas of their papers, in double,
// over the names of a Hugging Face directory: what no golden model has (groups, norms before the gate, limits of time
// steps, norms of dt, B and C, the layers of Jamba).
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/toy_checkpoint.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using Tensors = std::vector<ToyCheckpoint::Tensor>;

double silu(double x) { return x / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
Row gated(Row y, const Row& z) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= silu(z[i]);
  return y;
}

// What a layer keeps of its sequence.
struct State {
  std::vector<Row> inputs;  // of the convolution, the last first
  Row h;
  std::vector<Row> keys, values;
};

Row convolve(const ToyCheckpoint& w, const std::string& layer, State& state, const Row& x) {
  const DoubleMatrix& weight = w.matrix(layer + "conv1d.weight");
  Row y = w.vector(layer + "conv1d.bias");
  state.inputs.insert(state.inputs.begin(), x);
  for (std::size_t c = 0; c < x.size(); ++c) {
    for (std::size_t j = 0; j < weight.cols && j < state.inputs.size(); ++j)
      y[c] += weight.row(c)[weight.cols - 1 - j] * state.inputs[j][c];
    y[c] = silu(y[c]);
  }
  return y;
}

constexpr std::size_t kHidden = 40, kInner = 80, kState = 12, kRank = 5, kHeads = 4, kGroups = 2;
constexpr Index kVocab = 48, kLayers = 3;

enum class StepNorm { kNone, kOfOnes, kWeighted };

// Gu & Dao 2023, algorithm 2; `norm` with its eps on dt, B and C.
Row mamba(const ToyCheckpoint& w, const std::string& layer, StepNorm norm, double eps, State& state, const Row& u) {
  const Row both = w.matrix(layer + "in_proj.weight").times(u);
  const Row x = convolve(w, layer, state, part(both, 0, kInner)), z = part(both, kInner, kInner);
  const Row steps = w.matrix(layer + "x_proj.weight").times(x);
  const auto normed = [&](std::size_t first, std::size_t count, const char* name) {
    const Row values = part(steps, first, count);
    if (norm == StepNorm::kNone) return values;
    return rms_norm(values, norm == StepNorm::kOfOnes ? Row(count, 1.0) : w.vector(layer + name), eps);
  };
  const Row b = normed(kRank, kState, "b_layernorm.weight"), c = normed(kRank + kState, kState, "c_layernorm.weight");
  const Row dt = plus(w.matrix(layer + "dt_proj.weight").times(normed(0, kRank, "dt_layernorm.weight")),
                      w.vector(layer + "dt_proj.bias"));
  state.h.resize(kInner * kState);
  Row y(kInner);
  for (std::size_t d = 0; d < kInner; ++d) {
    const double step = softplus(dt[d]);
    y[d] = w.vector(layer + "D")[d] * x[d];
    for (std::size_t n = 0; n < kState; ++n) {
      double& h = state.h[d * kState + n];
      h = std::exp(-step * std::exp(w.matrix(layer + "A_log").row(d)[n])) * h + step * x[d] * b[n];
      y[d] += h * c[n];
    }
  }
  return w.matrix(layer + "out_proj.weight").times(gated(y, z));
}

// Dao & Gu 2024, section 7.
Row mamba2(const ToyCheckpoint& w, const std::string& layer, const Json& config, State& state, const Row& u) {
  constexpr std::size_t kShared = kGroups * kState, kWidth = kInner / kHeads;
  const Row all = w.matrix(layer + "in_proj.weight").times(u);
  const Row z = part(all, 0, kInner), dt = part(all, 2 * kInner + 2 * kShared, kHeads);
  const Row x_b_c = convolve(w, layer, state, part(all, kInner, kInner + 2 * kShared));
  state.h.resize(kInner * kState);
  Row y(kInner);
  for (std::size_t d = 0; d < kInner; ++d) {
    const std::size_t head = d / kWidth, group = head / (kHeads / kGroups);
    const double step =
        std::clamp(softplus(dt[head] + w.vector(layer + "dt_bias")[head]), config["time_step_limit"][0].get<double>(),
                   config["time_step_limit"][1].get<double>());
    y[d] = w.vector(layer + "D")[head] * x_b_c[d];
    for (std::size_t n = 0; n < kState; ++n) {
      double& h = state.h[d * kState + n];
      h = std::exp(-step * std::exp(w.vector(layer + "A_log")[head])) * h +
          step * x_b_c[d] * x_b_c[kInner + group * kState + n];
      y[d] += h * x_b_c[kInner + kShared + group * kState + n];
    }
  }
  const auto normed = [&](const Row& values) {
    Row out;
    for (std::size_t g = 0; g < kGroups; ++g) {
      constexpr std::size_t kPart = kInner / kGroups;
      const Row of_group =
          rms_norm(part(values, g * kPart, kPart), part(w.vector(layer + "norm.weight"), g * kPart, kPart), 1e-5);
      out.insert(out.end(), of_group.begin(), of_group.end());
    }
    return out;
  };
  const bool before = config["norm_before_gate"].get<bool>();
  return w.matrix(layer + "out_proj.weight").times(before ? gated(normed(y), z) : normed(gated(y, z)));
}

// Of the backbone of Mamba, Falcon Mamba and Mamba-2: mixer(layer's name, its state, normalised row).
template <class Mixer>
std::vector<double> backbone_logits(const ToyCheckpoint& w, std::span<const TokenId> tokens, Mixer mixer) {
  std::vector<State> states(static_cast<std::size_t>(kLayers));
  std::vector<double> all;
  for (const TokenId token : tokens) {
    Row x = w.matrix("backbone.embeddings.weight").row(static_cast<std::size_t>(token));
    for (std::size_t n = 0; n < states.size(); ++n) {
      const std::string layer = fmt::format("backbone.layers.{}.", n);
      x = plus(x, mixer(layer + "mixer.", states[n], rms_norm(x, w.vector(layer + "norm.weight"), 1e-5)));
    }
    const Row logits = w.matrix("lm_head.weight").times(rms_norm(x, w.vector("backbone.norm_f.weight"), 1e-5));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

Tensors around_layers(const std::string& embedding, const std::string& norm) {
  return {{embedding, {kVocab, kHidden}}, {norm, {kHidden}}, {"lm_head.weight", {kVocab, kHidden}}};
}

void add_mamba(Tensors& tensors, const std::string& layer, StepNorm norm) {
  const Tensors mine = {{layer + "in_proj.weight", {2 * kInner, kHidden}},
                        {layer + "conv1d.weight", {kInner, 1, 4}},
                        {layer + "conv1d.bias", {kInner}},
                        {layer + "x_proj.weight", {kRank + 2 * kState, kInner}},
                        {layer + "dt_proj.weight", {kInner, kRank}},
                        {layer + "dt_proj.bias", {kInner}},
                        {layer + "A_log", {kInner, kState}},
                        {layer + "D", {kInner}},
                        {layer + "out_proj.weight", {kHidden, kInner}}};
  tensors.insert(tensors.end(), mine.begin(), mine.end());
  if (norm != StepNorm::kWeighted) return;
  tensors.push_back({layer + "dt_layernorm.weight", {kRank}});
  tensors.push_back({layer + "b_layernorm.weight", {kState}});
  tensors.push_back({layer + "c_layernorm.weight", {kState}});
}

// The largest difference relative to the largest logit of its row.
double distance(const ToyCheckpoint& checkpoint, std::span<const TokenId> tokens, const std::vector<double>& expected) {
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, checkpoint.path());
  Session session(machine.context, *model.model,
                  model.plan(machine.context, {.context = 64, .kv_type = KvType::kF32, .chunk = 7, .all_logits = true}),
                  KvBacking::kPopulate);
  const std::vector<float> actual = logits_of(session, session.open(), tokens);
  JERICHO_CHECK(actual.size() == expected.size(), "{} logits for {}", actual.size(), expected.size());
  double worst = 0;
  for (std::size_t row = 0; row < actual.size(); row += static_cast<std::size_t>(kVocab)) {
    double most = 0, off = 0;
    for (std::size_t i = row; i < row + static_cast<std::size_t>(kVocab); ++i) {
      most = std::max(most, std::abs(expected[i]));
      off = std::max(off, std::abs(double{actual[i]} - expected[i]));
    }
    worst = std::max(worst, off / most);
  }
  testing::Test::RecordProperty("distance", fmt::format("{:.2e}", worst));
  return worst;
}

Json backbone_config(const char* architecture) {
  return {{"architectures", {architecture}}, {"hidden_size", kHidden},
          {"num_hidden_layers", kLayers},    {"vocab_size", kVocab},
          {"tie_word_embeddings", false},    {"state_size", kState}};
}

constexpr double kFloat = 2e-5;

class MambaReference : public testing::TestWithParam<bool> {};

TEST_P(MambaReference, GivesTheLogitsOfTheFormulas) {
  const bool falcon = GetParam();
  Json config = backbone_config(falcon ? "FalconMambaForCausalLM" : "MambaForCausalLM");
  config["time_step_rank"] = kRank;
  config["mixer_rms_eps"] = 1e-3;  // large enough to show
  const StepNorm norm = falcon ? StepNorm::kOfOnes : StepNorm::kNone;
  Tensors tensors = around_layers("backbone.embeddings.weight", "backbone.norm_f.weight");
  for (Index n = 0; n < kLayers; ++n) {
    tensors.push_back({fmt::format("backbone.layers.{}.norm.weight", n), {kHidden}});
    add_mamba(tensors, fmt::format("backbone.layers.{}.mixer.", n), norm);
  }
  const ToyCheckpoint w(config, tensors, 1);
  const std::vector<TokenId> tokens = random_tokens(30, kVocab, 2);
  const auto expected = backbone_logits(w, tokens, [&](const std::string& layer, State& state, const Row& u) {
    return mamba(w, layer, norm, 1e-3, state, u);
  });
  EXPECT_LE(distance(w, tokens, expected), kFloat);
}
INSTANTIATE_TEST_SUITE_P(, MambaReference, testing::Bool(),
                         [](const auto& test) { return std::string(test.param ? "falcon" : "plain"); });

class Mamba2Reference : public testing::TestWithParam<bool> {};

TEST_P(Mamba2Reference, GivesTheLogitsOfTheFormulas) {
  constexpr Index kShared = kGroups * kState;
  Json config = backbone_config("Mamba2ForCausalLM");
  config["num_heads"] = kHeads;
  config["head_dim"] = kInner / kHeads;
  config["n_groups"] = kGroups;
  config["norm_before_gate"] = GetParam();
  config["time_step_limit"] = {0.5, 0.9};  // both ends are met
  Tensors tensors = around_layers("backbone.embeddings.weight", "backbone.norm_f.weight");
  for (Index n = 0; n < kLayers; ++n) {
    const std::string layer = fmt::format("backbone.layers.{}.", n), mixer = layer + "mixer.";
    const Tensors mine = {{layer + "norm.weight", {kHidden}},
                          {mixer + "in_proj.weight", {2 * kInner + 2 * kShared + kHeads, kHidden}},
                          {mixer + "conv1d.weight", {kInner + 2 * kShared, 1, 4}},
                          {mixer + "conv1d.bias", {kInner + 2 * kShared}},
                          {mixer + "dt_bias", {kHeads}},
                          {mixer + "A_log", {kHeads}},
                          {mixer + "D", {kHeads}},
                          {mixer + "norm.weight", {kInner}},
                          {mixer + "out_proj.weight", {kHidden, kInner}}};
    tensors.insert(tensors.end(), mine.begin(), mine.end());
  }
  const ToyCheckpoint w(config, tensors, 3);
  const std::vector<TokenId> tokens = random_tokens(30, kVocab, 4);
  const auto expected = backbone_logits(w, tokens, [&](const std::string& layer, State& state, const Row& u) {
    return mamba2(w, layer, config, state, u);
  });
  EXPECT_LE(distance(w, tokens, expected), kFloat);
}
INSTANTIATE_TEST_SUITE_P(, Mamba2Reference, testing::Bool(), [](const auto& test) {
  return std::string(test.param ? "norm_before_gate" : "norm_after_gate");
});

// Jamba: layer 1 attends with 4 heads over 2 of keys; layer 2 has 4 experts, of which a token takes 2.
constexpr std::size_t kQueries = 4, kKeys = 2, kWidth = kHidden / kQueries, kFeed = 56, kExperts = 4;

Row attention(const ToyCheckpoint& w, const std::string& layer, State& state, const Row& u) {
  const Row q = w.matrix(layer + "q_proj.weight").times(u);
  state.keys.push_back(w.matrix(layer + "k_proj.weight").times(u));
  state.values.push_back(w.matrix(layer + "v_proj.weight").times(u));
  Row out;
  for (std::size_t head = 0; head < kQueries; ++head) {
    const std::size_t shared = head / (kQueries / kKeys) * kWidth;
    Row weights;
    for (const Row& key : state.keys) {
      weights.push_back(dot(part(q, head * kWidth, kWidth), part(key, shared, kWidth)) /
                        std::sqrt(static_cast<double>(kWidth)));
    }
    weights = softmax(weights);
    Row attended(kWidth, 0.0);
    for (std::size_t j = 0; j < weights.size(); ++j)
      attended = plus(attended, times(part(state.values[j], shared, kWidth), weights[j]));
    out.insert(out.end(), attended.begin(), attended.end());
  }
  return w.matrix(layer + "o_proj.weight").times(out);
}

Row feed_forward(const ToyCheckpoint& w, const std::string& prefix, const Row& u) {
  return w.matrix(prefix + "down_proj.weight")
      .times(gated(w.matrix(prefix + "up_proj.weight").times(u), w.matrix(prefix + "gate_proj.weight").times(u)));
}

Row two_experts(const ToyCheckpoint& w, const std::string& prefix, const Row& u) {
  const Row shares = softmax(w.matrix(prefix + "router.weight").times(u));  // of all, and not renormalised
  std::vector<std::size_t> order = {0, 1, 2, 3};
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return shares[a] > shares[b]; });
  Row out(kHidden, 0.0);
  for (const std::size_t e : {order[0], order[1]})
    out = plus(out, times(feed_forward(w, fmt::format("{}experts.{}.", prefix, e), u), shares[e]));
  return out;
}

TEST(JambaReference, GivesTheLogitsOfTheFormulas) {
  constexpr double kEps = 1e-6;
  const Json config = {{"architectures", {"JambaForCausalLM"}},
                       {"hidden_size", kHidden},
                       {"intermediate_size", kFeed},
                       {"num_hidden_layers", kLayers},
                       {"num_attention_heads", kQueries},
                       {"num_key_value_heads", kKeys},
                       {"vocab_size", kVocab},
                       {"tie_word_embeddings", false},
                       {"num_experts", kExperts},
                       {"num_experts_per_tok", 2},
                       {"expert_layer_period", 3},
                       {"expert_layer_offset", 2},
                       {"attn_layer_period", 3},
                       {"attn_layer_offset", 1},
                       {"mamba_d_state", kState},
                       {"mamba_dt_rank", kRank}};
  Tensors tensors = around_layers("model.embed_tokens.weight", "model.final_layernorm.weight");
  const auto add_feed_forward = [&](const std::string& prefix) {
    tensors.push_back({prefix + "gate_proj.weight", {kFeed, kHidden}});
    tensors.push_back({prefix + "up_proj.weight", {kFeed, kHidden}});
    tensors.push_back({prefix + "down_proj.weight", {kHidden, kFeed}});
  };
  for (Index n = 0; n < kLayers; ++n) {
    const std::string layer = fmt::format("model.layers.{}.", n);
    tensors.push_back({layer + "input_layernorm.weight", {kHidden}});
    tensors.push_back({layer + "pre_ff_layernorm.weight", {kHidden}});
    if (n == 1) {
      tensors.push_back({layer + "self_attn.q_proj.weight", {kHidden, kHidden}});
      tensors.push_back({layer + "self_attn.k_proj.weight", {kKeys * kWidth, kHidden}});
      tensors.push_back({layer + "self_attn.v_proj.weight", {kKeys * kWidth, kHidden}});
      tensors.push_back({layer + "self_attn.o_proj.weight", {kHidden, kHidden}});
    } else {
      add_mamba(tensors, layer + "mamba.", StepNorm::kWeighted);
    }
    if (n == 2) {
      tensors.push_back({layer + "feed_forward.router.weight", {kExperts, kHidden}});
      for (std::size_t e = 0; e < kExperts; ++e) add_feed_forward(fmt::format("{}feed_forward.experts.{}.", layer, e));
    } else {
      add_feed_forward(layer + "feed_forward.");
    }
  }
  const ToyCheckpoint w(config, tensors, 5);
  const std::vector<TokenId> tokens = random_tokens(30, kVocab, 6);
  std::vector<State> states(static_cast<std::size_t>(kLayers));
  std::vector<double> expected;
  for (const TokenId token : tokens) {
    Row x = w.matrix("model.embed_tokens.weight").row(static_cast<std::size_t>(token));
    for (std::size_t n = 0; n < states.size(); ++n) {
      const std::string layer = fmt::format("model.layers.{}.", n);
      const Row a = rms_norm(x, w.vector(layer + "input_layernorm.weight"), kEps);
      x = plus(x, n == 1 ? attention(w, layer + "self_attn.", states[n], a)
                         : mamba(w, layer + "mamba.", StepNorm::kWeighted, kEps, states[n], a));
      const Row m = rms_norm(x, w.vector(layer + "pre_ff_layernorm.weight"), kEps);
      x = plus(x, n == 2 ? two_experts(w, layer + "feed_forward.", m) : feed_forward(w, layer + "feed_forward.", m));
    }
    const Row logits = w.matrix("lm_head.weight").times(rms_norm(x, w.vector("model.final_layernorm.weight"), kEps));
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  EXPECT_LE(distance(w, tokens, expected), kFloat);
}

}  // namespace
}  // namespace jericho
