// Configurations of models with state spaces: what each format says of them, what they amount to, and what is refused.
#include <limits>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "formats/json_file.h"
#include "formats/test_files.h"
#include "models/families.h"
#include "models/transformer.h"
#include "models/weights.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

Json mamba_130m() {
  return {{"architectures", {"MambaForCausalLM"}},
          {"hidden_size", 768},
          {"num_hidden_layers", 24},
          {"vocab_size", 50280},
          {"state_size", 16},
          {"conv_kernel", 4},
          {"expand", 2},
          {"time_step_rank", 48},
          {"intermediate_size", 1536}};
}
Json mamba2_130m() {
  return {{"architectures", {"Mamba2ForCausalLM"}},
          {"hidden_size", 768},
          {"num_hidden_layers", 24},
          {"vocab_size", 50288},
          {"num_heads", 24},
          {"head_dim", 64},
          {"state_size", 128},
          {"expand", 2},
          {"tie_word_embeddings", true}};
}
Json mamba2_27b() {
  Json json = mamba2_130m();
  json["hidden_size"] = 2560;
  json["num_hidden_layers"] = 64;
  json["num_heads"] = 80;
  return json;
}
Json mamba_28b_native() {
  return {{"d_model", 2560}, {"n_layer", 64}, {"vocab_size", 50277}, {"ssm_cfg", Json::object()}};
}
Json falcon_h1() {
  return {{"architectures", {"FalconH1ForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"vocab_size", 512},
          {"mamba_d_ssm", 96},
          {"mamba_n_heads", 6},
          {"mamba_d_head", 16},
          {"mamba_d_state", 16}};
}

Json jamba() {
  return {{"architectures", {"JambaForCausalLM"}},
          {"hidden_size", 4096},
          {"intermediate_size", 14336},
          {"num_hidden_layers", 32},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 8},
          {"vocab_size", 65536},
          {"tie_word_embeddings", false}};
}

std::string refusal(const Json& json) {
  return error_of([&] { return config_from_json(json); });
}
std::string refusal_with(Json json, const char* key, const Json& value) {
  json[key] = value;
  return refusal(json);
}

Index parameters(const Json& json) { return WeightLayout::of_shape(config_from_json(json), DType::kF16).parameters(); }
Bytes state_of(const Json& json, KvType type = KvType::kF16) {
  return state_layout(config_from_json(json), type).bytes_per_sequence();
}

TEST(StateSpaceConfig, AmountsToThePublishedStateBytes) {
  EXPECT_EQ(state_of(mamba_130m()), 2'580'480_B);
  EXPECT_EQ(state_of(mamba_28b_native()), 22'937'600_B);
  EXPECT_EQ(state_of(mamba2_130m()), 19'132'416_B);
  EXPECT_EQ(state_of(mamba2_27b()), 169'836'544_B);
  EXPECT_EQ(state_of(mamba2_27b(), KvType::kQ8), 169'836'544_B);
  EXPECT_EQ(state_of(jamba()), 16'056'320_B);
  EXPECT_EQ(state_of(mamba_130m(), KvType::kF32), Bytes{24 * 1536 * (3 + 16) * 4});
}

TEST(StateSpaceConfig, AmountsToTheParametersOfItsTensors) {
  const Index layer = 768 + 2 * 1536 * 768 + 1536 * 5 + (48 + 32) * 1536 + 1536 * 49 + 1536 * 17 + 768 * 1536;
  EXPECT_EQ(parameters(mamba_130m()), 50280 * 768 + 24 * layer + 768);
  EXPECT_EQ(parameters(mamba_130m()), 129'135'360);  // "130M"
  EXPECT_EQ(parameters(jamba()), 51'570'323'328);
  const Index layer2 = 768 + (2 * 1536 + 256 + 24) * 768 + 1792 * 5 + 3 * 24 + 1536 + 768 * 1536;
  EXPECT_EQ(parameters(mamba2_130m()), 50288 * 768 + 24 * layer2 + 768);
}

TEST(StateSpaceConfig, AnAttentionFreeModelHasNoKeysAndValues) {
  const ModelConfig c = config_from_json(mamba_130m());
  EXPECT_EQ(c.attention_layers(), 0);
  EXPECT_EQ(kv_layout(c, KvType::kF16).page_bytes(), 0_B);
  EXPECT_EQ(kv_layout(c, KvType::kF16).bytes_per_token(), 0_B);
  EXPECT_EQ(c.max_position_embeddings, 1 << 20);
}

TEST(StateSpaceConfig, TakesTheDefaultsOfTransformers) {
  const Json bare = {
      {"architectures", {"MambaForCausalLM"}}, {"hidden_size", 100}, {"num_hidden_layers", 2}, {"vocab_size", 64}};
  const ModelConfig c = config_from_json(bare);
  EXPECT_EQ(c.state_space.inner_size, 200);
  EXPECT_EQ(c.state_space.state_size, 16);
  EXPECT_EQ(c.state_space.conv_kernel, 4);
  EXPECT_EQ(c.state_space.dt_rank, 7);  // ceil(100 / 16)
  EXPECT_EQ(c.rms_norm_eps, 1e-5f);
  EXPECT_TRUE(c.state_space.conv_bias && c.tie_word_embeddings);
  EXPECT_FALSE(c.state_space.projection_bias || c.state_space.dt_b_c_norm);
  Json automatic = bare;
  automatic["time_step_rank"] = "auto";
  EXPECT_EQ(config_from_json(automatic).state_space.dt_rank, 7);
}

TEST(StateSpaceConfig, ReadsTheStyleOfStateSpacesOwnCheckpoints) {
  const ModelConfig c = config_from_json(mamba_28b_native());
  EXPECT_EQ(c.architecture, "MambaForCausalLM");
  EXPECT_EQ(c.state_space.inner_size, 5120);
  EXPECT_EQ(c.vocab_size, 50280);  // padded to a multiple of 8
  Json two = mamba_28b_native();
  two["ssm_cfg"] = {{"layer", "Mamba2"}};
  const ModelConfig c2 = config_from_json(two);
  EXPECT_EQ(c2.architecture, "Mamba2ForCausalLM");
  EXPECT_EQ(c2.state_space.heads, 80);
  EXPECT_THAT(refusal_with(mamba_28b_native(), "attn_layer_idx", {3}),
              AllOf(HasSubstr("unsupported: "), HasSubstr("attn_layer_idx")));
  EXPECT_THAT(refusal_with(mamba_28b_native(), "d_intermediate", 64), HasSubstr("d_intermediate"));
}

TEST(StateSpaceConfig, FalconMambaNormalizesStepsInputsAndOutputsWithoutWeights) {
  Json json = mamba_130m();
  json["architectures"] = {"FalconMambaForCausalLM"};
  const ModelConfig c = config_from_json(json);
  EXPECT_TRUE(c.state_space.dt_b_c_norm);
  EXPECT_FALSE(c.state_space.dt_b_c_weights);
  EXPECT_EQ(c.state_space.norm_eps, 1e-6f);
  EXPECT_EQ(c.rms_norm_eps, 1e-5f);
}

TEST(StateSpaceConfig, JambaAttendsInOneLayerOfEight) {
  const ModelConfig c = config_from_json(jamba());
  for (Index i = 0; i < 32; ++i) {
    const LayerConfig& layer = c.layers[static_cast<std::size_t>(i)];
    EXPECT_EQ(layer.attention, i % 8 == 4) << i;
    EXPECT_EQ(layer.state_space, i % 8 == 4 ? StateSpace::kNone : StateSpace::kMamba) << i;
    EXPECT_EQ(layer.feed_forward, i % 2 == 1 ? FeedForward::kExperts : FeedForward::kDense) << i;
    EXPECT_EQ(layer.rope, LayerRope::kNone);
  }
  EXPECT_TRUE(c.state_space.dt_b_c_weights);
  EXPECT_FALSE(c.moe.normalize);
  EXPECT_EQ(c.state_space.dt_rank, 256);
  EXPECT_EQ(kv_layout(c, KvType::kF16).bytes_per_token(), 16'384_B);
  EXPECT_THAT(refusal_with(jamba(), "attn_layer_offset", 8), HasSubstr("attn_layer_offset"));
  EXPECT_THAT(refusal_with(jamba(), "expert_layer_period", 0), HasSubstr("expert_layer_offset"));
  EXPECT_THAT(refusal_with(jamba(), "sliding_window", 64), HasSubstr("sliding_window"));
  Json dense = jamba();
  dense["num_experts"] = 1;
  for (const LayerConfig& layer : config_from_json(dense).layers) EXPECT_EQ(layer.feed_forward, FeedForward::kDense);
}

// The GGUF of a Jamba: heads of keys per layer, experts where a layer has a router.
class JambaGguf : public testing::Test {
 protected:
  JambaGguf() {
    writer_.set("general.architecture", "jamba");
    for (const auto& [key, value] :
         {std::pair("embedding_length", 64u), std::pair("feed_forward_length", 128u), std::pair("block_count", 3u),
          std::pair("context_length", 512u), std::pair("attention.head_count", 4u), std::pair("ssm.conv_kernel", 4u),
          std::pair("ssm.inner_size", 128u), std::pair("ssm.state_size", 16u), std::pair("ssm.time_step_rank", 4u),
          std::pair("expert_count", 4u), std::pair("expert_used_count", 2u)}) {
      set(key, std::uint32_t{value});
    }
    set("attention.head_count_kv", std::vector<std::uint32_t>{0, 2, 0});
  }
  void set(const std::string& suffix, GgufValue value) { writer_.set("jamba." + suffix, std::move(value)); }
  ModelConfig config() {
    const std::vector<TestTensor> tensors = {{"token_embd.weight", DType::kF32, {100, 64}},
                                             {"blk.0.ssm_in.weight", DType::kF32, {256, 64}},
                                             {"blk.0.ssm_conv1d.bias", DType::kF32, {128}},
                                             {"blk.0.ssm_dt_norm.weight", DType::kF32, {4}},
                                             {"blk.2.ffn_gate_inp.weight", DType::kF32, {4, 64}}};
    return read_config(*open_model(directory_.put("model.gguf", file_of(writer_, tensors))));
  }
  TestDirectory directory_;
  GgufWriter writer_;
};

TEST_F(JambaGguf, TellsTheLayersByHeadsAndRouters) {
  const ModelConfig c = config();
  EXPECT_EQ(c.num_key_value_heads, 2);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.attention_layers(), 1);
  EXPECT_TRUE(c.layers[1].attention);
  EXPECT_EQ(c.layers[1].state_space, StateSpace::kNone);
  EXPECT_EQ(c.layers[2].state_space, StateSpace::kMamba);
  EXPECT_EQ(c.layers[2].feed_forward, FeedForward::kExperts);
  EXPECT_EQ(c.layers[0].feed_forward, FeedForward::kDense);
  EXPECT_TRUE(c.state_space.conv_bias && c.state_space.dt_b_c_norm && c.state_space.dt_b_c_weights);
  EXPECT_FALSE(c.state_space.projection_bias);
}

TEST_F(JambaGguf, RefusesHeadsThatCannotBe) {
  set("attention.head_count_kv", std::vector<std::uint32_t>{0, 2});
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("input: "), HasSubstr("2 entries for 3 layers")));
  set("attention.head_count_kv", std::vector<std::uint32_t>{1, 2, 0});
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("unsupported: "), HasSubstr("different sizes")));
  set("attention.head_count_kv", std::vector<std::uint32_t>{0, 3, 0});
  EXPECT_THAT(error_of([&] { return config(); }), HasSubstr("4 attention heads cannot share 3"));
}

TEST(StateSpaceConfig, Mamba2LimitsItsTimeSteps) {
  Json json = mamba2_130m();
  json["time_step_limit"] = {0.01, 1.79e308};  // as Infinity is read
  const ModelConfig c = config_from_json(json);
  EXPECT_EQ(c.state_space.dt_min, 0.01f);
  EXPECT_EQ(c.state_space.dt_max, std::numeric_limits<float>::max());
  EXPECT_THAT(refusal_with(json, "time_step_limit", {0.1, 0.01}), HasSubstr("time steps"));
  EXPECT_THAT(refusal_with(json, "time_step_limit", {-1.0, 1.0}), HasSubstr("time steps"));
  EXPECT_THAT(refusal_with(json, "time_step_limit", 3), HasSubstr("time_step_limit"));
}

TEST(StateSpaceConfig, RefusesSizesThatCannotBe) {
  for (const char* key : {"state_size", "conv_kernel", "time_step_rank", "intermediate_size"}) {
    for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 40})
      EXPECT_THAT(refusal_with(mamba_130m(), key, value), HasSubstr("input: ")) << key << " " << value;
  }
  for (const Json& json : {mamba_130m(), mamba2_130m(), mamba2_27b(), falcon_h1(), jamba()}) {
    for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
      for (const char* key : {"hidden_size", "vocab_size"})
        EXPECT_THAT(refusal_with(json, key, value), HasSubstr("input: ")) << json["architectures"] << value;
    }
  }
  Json bare = mamba_130m();
  bare.erase("time_step_rank");
  EXPECT_THAT(refusal_with(bare, "hidden_size", std::numeric_limits<std::int64_t>::max()), HasSubstr("input: "));
  for (const char* key : {"vocab_size", "pad_vocab_size_multiple", "d_model"}) {
    EXPECT_THAT(refusal_with(mamba_28b_native(), key, std::numeric_limits<std::int64_t>::max()), HasSubstr("input: "))
        << key;
  }
  EXPECT_THAT(refusal_with(mamba_130m(), "conv_kernel", 65), HasSubstr("conv_kernel is 65"));
  EXPECT_THAT(refusal_with(mamba_130m(), "time_step_rank", "many"), HasSubstr("time_step_rank"));
  EXPECT_THAT(refusal_with(mamba2_130m(), "head_dim", 63), HasSubstr("24 heads of 63"));
  EXPECT_THAT(refusal_with(mamba2_130m(), "n_groups", 5), HasSubstr("24 heads are not 5 equal groups"));
  EXPECT_THAT(refusal_with(mamba2_130m(), "expand", std::int64_t{1} << 60), HasSubstr("input: "));
  EXPECT_THAT(refusal_with(falcon_h1(), "mamba_n_heads", 7), HasSubstr("input: "));
  EXPECT_THAT(refusal_with(falcon_h1(), "ssm_multipliers", {1.0, 2.0}), HasSubstr("ssm_multipliers"));
}

TEST(StateSpaceConfig, NamesTheFeatureItCannotDo) {
  EXPECT_THAT(refusal_with(mamba_130m(), "hidden_act", "relu2"), AllOf(HasSubstr("unsupported: "), HasSubstr("silu")));
  for (const char* key : {"mamba_proj_bias", "projectors_bias", "attention_bias"})
    EXPECT_THAT(refusal_with(falcon_h1(), key, true), AllOf(HasSubstr("unsupported: "), HasSubstr("biases"))) << key;
  EXPECT_THAT(refusal_with(mamba_130m(), "architectures", {"NemotronHForCausalLM"}),
              AllOf(HasSubstr("unsupported: "), HasSubstr("NemotronHForCausalLM")));
}

TEST(StateSpaceConfig, FalconH1RunsBothSidesInEveryLayerWithItsFactors) {
  Json json = falcon_h1();
  json["attention_in_multiplier"] = 0.5;
  json["key_multiplier"] = 0.625;
  json["ssm_in_multiplier"] = 0.5;
  json["ssm_multipliers"] = {0.5, 0.25, 0.75, 0.5, 1.0};
  json["mlp_multipliers"] = {0.875, 0.625};
  const ModelConfig c = config_from_json(json);
  for (const LayerConfig& layer : c.layers) {
    EXPECT_TRUE(layer.attention);
    EXPECT_EQ(layer.state_space, StateSpace::kMamba2);
    EXPECT_EQ(layer.feed_forward, FeedForward::kDense);
  }
  EXPECT_EQ(c.multipliers.q, 0.5f);
  EXPECT_EQ(c.multipliers.k, 0.3125f);
  EXPECT_EQ(c.multipliers.v, 0.5f);
  EXPECT_EQ(c.multipliers.ssm_x, 0.125f);
  EXPECT_EQ(c.multipliers.ssm_dt, 0.5f);
  EXPECT_EQ(c.multipliers.gate, 0.875f);
  EXPECT_EQ(c.multipliers.down, 0.625f);
  EXPECT_EQ(c.multipliers.head, 1.0f);
}

// What the two forms of one model must agree on.
void expect_same(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.max_position_embeddings, b.max_position_embeddings);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
  EXPECT_EQ(a.num_key_value_heads, b.num_key_value_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.rope.dims, b.rope.dims);
  EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings);
  const StateSpaceConfig &s = a.state_space, &t = b.state_space;
  EXPECT_EQ(s.inner_size, t.inner_size);
  EXPECT_EQ(s.state_size, t.state_size);
  EXPECT_EQ(s.conv_kernel, t.conv_kernel);
  EXPECT_EQ(s.dt_rank, t.dt_rank);
  EXPECT_EQ(s.heads, t.heads);
  EXPECT_EQ(s.groups, t.groups);
  EXPECT_EQ(s.conv_bias, t.conv_bias);
  EXPECT_EQ(s.projection_bias, t.projection_bias);
  EXPECT_EQ(s.gated_norm, t.gated_norm);
  EXPECT_EQ(s.norm_eps, t.norm_eps);
  EXPECT_EQ(s.dt_b_c_norm, t.dt_b_c_norm);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].attention, b.layers[i].attention);
    EXPECT_EQ(a.layers[i].state_space, b.layers[i].state_space);
    EXPECT_EQ(a.layers[i].feed_forward, b.layers[i].feed_forward);
  }
}

TEST(StateSpaceConfig, IsReadAsItIsWritten) {
  Json falcon_mamba = mamba_130m(), factors = falcon_h1();
  falcon_mamba["architectures"] = {"FalconMambaForCausalLM"};
  factors["key_multiplier"] = 0.5;
  factors["ssm_multipliers"] = {0.5, 0.25, 0.75, 0.5, 1.0};
  const std::set<std::string> of_every_decoder = {"architectures",     "hidden_size",         "num_hidden_layers",
                                                  "vocab_size",        "tie_word_embeddings", "num_attention_heads",
                                                  "intermediate_size", "num_key_value_heads"};
  for (const Json& json : {mamba_130m(), falcon_mamba, mamba2_130m(), factors, jamba()}) {
    ModelConfig c = config_from_json(json);
    Json written;
    for (const auto& [key, value] : json.items()) {
      if (of_every_decoder.contains(key)) written[key] = value;
    }
    if (c.head_dim > 0) written["head_dim"] = c.head_dim;
    c.architecture = gguf_name(c.architecture);
    const Family& family = hugging_face_family(c);
    EXPECT_EQ(family.hugging_face, json["architectures"][0].get<std::string>());
    family.to_json(c, written);
    const ModelConfig again = config_from_json(written);
    expect_same(again, c);
    EXPECT_EQ(again.multipliers.k, c.multipliers.k);
    EXPECT_EQ(again.multipliers.ssm_b, c.multipliers.ssm_b);
  }
}

TEST(StateSpaceConfig, IsTheSameInBothFormats) {
  JERICHO_NEEDS_DATA("golden");
  for (const char* model : {"mamba", "falcon-h1"}) {
    SCOPED_TRACE(model);
    expect_same(read_config(*open_model(test_data("golden") / model / "hf")),
                read_config(*open_model(test_data("golden") / model / "model.gguf")));
  }
}

}  // namespace
}  // namespace jericho
