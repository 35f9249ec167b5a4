// DeepSeek's configurations in both formats: what is read, what the published sizes amount to, and what is refused.
#include <cmath>
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

Json v2_lite() {
  return {{"architectures", {"DeepseekV2ForCausalLM"}},
          {"first_k_dense_replace", 1},
          {"hidden_size", 2048},
          {"intermediate_size", 10944},
          {"kv_lora_rank", 512},
          {"max_position_embeddings", 163840},
          {"moe_intermediate_size", 1408},
          {"n_group", 1},
          {"n_routed_experts", 64},
          {"n_shared_experts", 2},
          {"norm_topk_prob", false},
          {"num_attention_heads", 16},
          {"num_experts_per_tok", 6},
          {"num_hidden_layers", 27},
          {"num_key_value_heads", 16},
          {"q_lora_rank", nullptr},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"rope_scaling",
           {{"beta_fast", 32},
            {"beta_slow", 1},
            {"factor", 40},
            {"mscale", 0.707},
            {"mscale_all_dim", 0.707},
            {"original_max_position_embeddings", 4096},
            {"type", "yarn"}}},
          {"routed_scaling_factor", 1.0},
          {"scoring_func", "softmax"},
          {"topk_group", 1},
          {"topk_method", "greedy"},
          {"v_head_dim", 128},
          {"vocab_size", 102400}};
}
Json v3() {
  Json json = v2_lite();
  json.update({{"architectures", {"DeepseekV3ForCausalLM"}},
               {"first_k_dense_replace", 3},
               {"hidden_size", 7168},
               {"intermediate_size", 18432},
               {"moe_intermediate_size", 2048},
               {"n_group", 8},
               {"n_routed_experts", 256},
               {"n_shared_experts", 1},
               {"norm_topk_prob", true},
               {"num_attention_heads", 128},
               {"num_experts_per_tok", 8},
               {"num_hidden_layers", 61},
               {"num_key_value_heads", 128},
               {"q_lora_rank", 1536},
               {"routed_scaling_factor", 2.5},
               {"scoring_func", "sigmoid"},
               {"topk_group", 4},
               {"topk_method", "noaux_tc"},
               {"vocab_size", 129280}});
  json["rope_scaling"]["mscale"] = json["rope_scaling"]["mscale_all_dim"] = 1.0;
  return json;
}

Index parameters(const ModelConfig& config) { return WeightLayout::of_shape(config, DType::kBF16).parameters(); }

TEST(DeepSeekConfig, AmountsToThePublishedParametersAndKvBytes) {
  const ModelConfig lite = config_from_json(v2_lite());
  EXPECT_EQ(parameters(lite), 15'706'484'224);
  EXPECT_EQ(kv_layout(lite, KvType::kF16).bytes_per_token().count, 31104);
  const ModelConfig three = config_from_json(v3());
  EXPECT_EQ(parameters(three), 671'026'419'200);
  EXPECT_EQ(kv_layout(three, KvType::kF16).bytes_per_token().count, 70272);
}

TEST(DeepSeekConfig, OfPublishedFilesIsReadOrRefusedByName) {
  JERICHO_NEEDS_DATA("configs");
  const ModelConfig three = config_from_json(read_json_file(test_data("configs/deepseek-v3.json")));
  EXPECT_EQ(parameters(three), 671'026'419'200);
  EXPECT_EQ(kv_layout(three, KvType::kF16).bytes_per_token().count, 70272);
  const Json native = read_json_file(test_data("configs/deepseek-v2-lite-native.json"));
  EXPECT_THAT(error_of([&] { return config_from_json(native); }),
              AllOf(HasSubstr("unsupported: "), HasSubstr("no 'architectures'"), HasSubstr("transformers")));
}

TEST(DeepSeekConfig, SharpensTheLogitsNotTheRotation) {
  const ModelConfig three = config_from_json(v3());
  EXPECT_NEAR(three.attention_scale, 0.135234f, 5e-7f);
  EXPECT_EQ(three.rope.dims, 64);
  EXPECT_EQ(three.rope.attention_factor, 1.0);
  Json json = v3();
  json["rope_scaling"]["mscale_all_dim"] = 0;  // then YaRN's own factor turns into cosine and sine
  const ModelConfig plain = config_from_json(json);
  EXPECT_EQ(plain.attention_scale, 1 / std::sqrt(192.0f));
  EXPECT_FALSE(plain.rope.attention_factor.has_value());
  json["rope_scaling"]["mscale"] = 2.0, json["rope_scaling"]["mscale_all_dim"] = 1.0;
  EXPECT_NEAR(*config_from_json(json).rope.attention_factor, (0.2 * std::log(40) + 1) / (0.1 * std::log(40) + 1),
              1e-12);
  json["rope_scaling"] = nullptr;
  EXPECT_EQ(config_from_json(json).attention_scale, 1 / std::sqrt(192.0f));
}

TEST(DeepSeekConfig, ChoosesExpertsAsItsGenerationDoes) {
  const ModelConfig lite = config_from_json(v2_lite());
  EXPECT_EQ(lite.moe.gating, Gating::kSoftmax);
  EXPECT_FALSE(lite.moe.selection_bias || lite.moe.normalize);
  EXPECT_EQ(lite.moe.groups, 1);
  EXPECT_EQ(lite.moe.shared_intermediate_size, 2816);
  EXPECT_EQ(lite.layers[0].feed_forward, FeedForward::kDense);
  EXPECT_EQ(lite.layers[1].feed_forward, FeedForward::kExperts);
  Json json = v2_lite();
  json.update({{"topk_method", "group_limited_greedy"}, {"n_group", 8}, {"topk_group", 3}});
  const ModelConfig grouped = config_from_json(json);
  EXPECT_EQ(grouped.moe.groups, 8);
  EXPECT_EQ(grouped.moe.topk_groups, 3);
  EXPECT_EQ(grouped.moe.group_score, GroupScore::kMax);
  const ModelConfig three = config_from_json(v3());
  EXPECT_EQ(three.moe.gating, Gating::kSigmoid);
  EXPECT_TRUE(three.moe.selection_bias && three.moe.normalize);
  EXPECT_EQ(three.moe.group_score, GroupScore::kTopTwoSum);
  EXPECT_EQ(three.moe.scale, 2.5f);
  EXPECT_EQ(three.layers[2].feed_forward, FeedForward::kDense);
  EXPECT_EQ(three.layers[3].feed_forward, FeedForward::kExperts);
}

TEST(DeepSeekConfig, ThirdGenerationTakesTheDefaultsOfItsClass) {
  Json json = v3();
  for (const char* key : {"topk_method", "scoring_func", "norm_topk_prob", "routed_scaling_factor", "n_group",
                          "topk_group", "first_k_dense_replace"})
    json.erase(key);
  const ModelConfig c = config_from_json(json), expected = config_from_json(v3());
  EXPECT_EQ(c.moe.gating, expected.moe.gating);
  EXPECT_EQ(c.moe.groups, expected.moe.groups);
  EXPECT_EQ(c.moe.topk_groups, expected.moe.topk_groups);
  EXPECT_EQ(c.moe.scale, expected.moe.scale);
  EXPECT_TRUE(c.moe.selection_bias && c.moe.normalize);
  EXPECT_EQ(c.layers[2].feed_forward, FeedForward::kDense);
  EXPECT_EQ(c.layers[3].feed_forward, FeedForward::kExperts);
}

TEST(DeepSeekConfig, RefusesWhatItCannotUse) {
  const auto with = [](const char* key, const Json& value) {
    Json json = v3();
    json[key] = value;
    return error_of([&] { return config_from_json(json); });
  };
  EXPECT_THAT(with("topk_method", "random"), AllOf(HasSubstr("unsupported: "), HasSubstr("random")));
  EXPECT_THAT(with("attention_bias", true), AllOf(HasSubstr("unsupported: "), HasSubstr("attention_bias")));
  EXPECT_THAT(with("rope_interleave", false), AllOf(HasSubstr("unsupported: "), HasSubstr("rope_interleave")));
  EXPECT_THAT(with("moe_layer_freq", 0), AllOf(HasSubstr("input: "), HasSubstr("moe_layer_freq is 0")));
  EXPECT_THAT(with("kv_lora_rank", 1024), AllOf(HasSubstr("input: "), HasSubstr("is 1088, expected 1 to 576")));
  EXPECT_THAT(with("kv_lora_rank", nullptr), AllOf(HasSubstr("input: "), HasSubstr("kv_lora_rank")));
  EXPECT_THAT(with("v_head_dim", 0), AllOf(HasSubstr("input: "), HasSubstr("v_head_dim")));
  EXPECT_THAT(with("qk_rope_head_dim", 63), HasSubstr("input: "));
}

class DeepSeekGguf : public testing::Test {
 protected:
  DeepSeekGguf() {
    writer_.set("general.architecture", "deepseek2");
    for (const auto& [key, value] : {std::pair("context_length", 163840),
                                     {"embedding_length", 7168},
                                     {"block_count", 61},
                                     {"feed_forward_length", 18432},
                                     {"attention.head_count", 128},
                                     {"attention.head_count_kv", 1},
                                     {"attention.q_lora_rank", 1536},
                                     {"attention.kv_lora_rank", 512},
                                     {"attention.key_length", 576},
                                     {"attention.value_length", 512},
                                     {"attention.key_length_mla", 192},
                                     {"attention.value_length_mla", 128},
                                     {"rope.dimension_count", 64},
                                     {"leading_dense_block_count", 3},
                                     {"expert_count", 256},
                                     {"expert_used_count", 8},
                                     {"expert_feed_forward_length", 2048},
                                     {"expert_shared_count", 1},
                                     {"expert_group_count", 8},
                                     {"expert_group_used_count", 4},
                                     {"expert_gating_func", 2},
                                     {"rope.scaling.original_context_length", 4096},
                                     {"vocab_size", 129280}}) {
      set(key, static_cast<std::uint32_t>(value));
    }
    set("rope.scaling.type", std::string("yarn"));
    set("rope.scaling.factor", 40.0f);
    set("rope.scaling.yarn_log_multiplier", 0.1f);
    set("expert_weights_norm", true);
    set("expert_weights_scale", 2.5f);
  }
  void set(const std::string& suffix, GgufValue value) { writer_.set("deepseek2." + suffix, std::move(value)); }
  ModelConfig config() {
    const auto path = directory_.put("model.gguf", file_of(writer_, {{"output.weight", DType::kF32, {1, 1}},
                                                                     {"blk.0.attn_k_b.weight", DType::kF32, {1}},
                                                                     {"blk.3.exp_probs_b.bias", DType::kF32, {1}}}));
    return read_config(*open_model(path));
  }
  TestDirectory directory_;
  GgufWriter writer_;
};

TEST_F(DeepSeekGguf, IsTheModelOfTheJson) {
  const ModelConfig c = config(), expected = config_from_json(v3());
  EXPECT_EQ(parameters(c), parameters(expected));
  EXPECT_EQ(kv_layout(c, KvType::kF16).bytes_per_token().count, 70272);
  EXPECT_EQ(c.attention_scale, expected.attention_scale);
  EXPECT_EQ(c.rope.attention_factor, expected.rope.attention_factor);
  EXPECT_EQ(c.rope.original_max_position_embeddings, expected.rope.original_max_position_embeddings);
  EXPECT_EQ(c.latent.nope_dim, 128);
  EXPECT_EQ(c.latent.value_dim, 128);
  EXPECT_EQ(c.head_dim, 192);
  EXPECT_EQ(c.moe.gating, Gating::kSigmoid);
  EXPECT_EQ(c.moe.group_score, GroupScore::kTopTwoSum);
  EXPECT_TRUE(c.moe.selection_bias && c.moe.normalize);
}

TEST_F(DeepSeekGguf, LeavesLayersForMultiTokenPredictionOut) {
  set("block_count", std::uint32_t{62});
  set("nextn_predict_layers", std::uint32_t{1});
  EXPECT_EQ(config().num_hidden_layers, 61);
}

TEST_F(DeepSeekGguf, WritesTheConfigurationThatItRead) {
  const ModelConfig c = config();
  EXPECT_EQ(hugging_face_family(c).hugging_face, "DeepseekV3ForCausalLM");
  Json json = {{"architectures", {"DeepseekV3ForCausalLM"}},
               {"hidden_size", 7168},
               {"intermediate_size", 18432},
               {"num_attention_heads", 128},
               {"num_hidden_layers", 61},
               {"vocab_size", 129280},
               {"head_dim", 192},
               {"max_position_embeddings", 163840},
               {"rope_scaling",
                {{"rope_type", "yarn"},
                 {"factor", 40.0},
                 {"attention_factor", 1.0},
                 {"original_max_position_embeddings", 4096}}}};
  hugging_face_family(c).to_json(c, json);
  const ModelConfig back = config_from_json(json);
  EXPECT_EQ(back.attention_scale, c.attention_scale);
  EXPECT_EQ(back.rope.attention_factor, 1.0);
  EXPECT_EQ(parameters(back), parameters(c));
  EXPECT_EQ(back.moe.topk_groups, 4);
  EXPECT_EQ(back.layers[2].feed_forward, FeedForward::kDense);
}

TEST_F(DeepSeekGguf, RefusesWhatItCannotUse) {
  set("expert_gating_func", std::uint32_t{3});
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("unsupported: "), HasSubstr("expert_gating_func 3")));
  set("expert_gating_func", std::uint32_t{2});
  set("attention.key_length_mla", std::uint32_t{64});  // nothing left that is not rotated
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("input: "), HasSubstr("qk_nope_head_dim is 0")));
  set("block_count", std::uint32_t{1});
  set("nextn_predict_layers", std::uint32_t{1});
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("input: "), HasSubstr("num_hidden_layers is 0")));
}

}  // namespace
}  // namespace jericho
