// Gemma's three generations in both formats: what is read, what the largest and the published sizes amount to, and what
// is refused.
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
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

Json gemma2(Index layers = 4) {
  return {{"architectures", {"Gemma2ForCausalLM"}}, {"num_hidden_layers", layers}, {"torch_dtype", "bfloat16"}};
}
Json gemma3(Index layers = 7) {
  return {{"architectures", {"Gemma3ForCausalLM"}}, {"num_hidden_layers", layers}, {"sliding_window", 512}};
}

std::vector<Index> windows(const ModelConfig& config) {
  std::vector<Index> all;
  for (const LayerConfig& layer : config.layers) all.push_back(layer.window);
  return all;
}

Index parameters(const ModelConfig& config) { return WeightLayout::of_shape(config, DType::kBF16).parameters(); }
std::int64_t kv_per_token(const ModelConfig& config) { return kv_layout(config, KvType::kF16).bytes_per_token().count; }

TEST(GemmaConfig, AmountsToThePublishedParametersAndKvBytes) {
  Json nine = gemma2(42);
  nine.update(
      {{"hidden_size", 3584}, {"intermediate_size", 14336}, {"num_attention_heads", 16}, {"num_key_value_heads", 8}});
  EXPECT_EQ(parameters(config_from_json(nine)), 9'241'705'984);
  EXPECT_EQ(kv_per_token(config_from_json(nine)), 344064);
  Json four = gemma3(34);
  four.update({{"hidden_size", 2560}, {"intermediate_size", 10240}});
  EXPECT_EQ(kv_per_token(config_from_json(four)), 139264);
}

TEST(GemmaConfig, OfPublishedFilesAmountsToThePublishedParameters) {
  JERICHO_NEEDS_DATA("configs");
  const ModelConfig two = config_from_json(read_json_file(test_data("configs/gemma-2-2b.json")));
  EXPECT_EQ(parameters(two), 2'614'341'888);
  EXPECT_EQ(kv_per_token(two), 106496);
  EXPECT_EQ(two.attention_softcap, 50);
  EXPECT_EQ(two.final_softcap, 30);
  EXPECT_EQ(two.embedding_scale, 48);
  EXPECT_EQ(two.layers[0].window, 4096);
  EXPECT_EQ(two.layers[1].window, 0);
  const ModelConfig three = config_from_json(read_json_file(test_data("configs/gemma-3-1b.json")));
  EXPECT_EQ(parameters(three), 999'885'952);
  EXPECT_EQ(kv_per_token(three), 26624);
  EXPECT_EQ(three.layers[4].window, 512);
  EXPECT_EQ(three.layers[5].window, 0);
  EXPECT_EQ(three.rope.theta, 1e6);
  ASSERT_TRUE(three.local_rope.has_value());
  EXPECT_EQ(three.local_rope->theta, 1e4);
  EXPECT_EQ(three.attention_softcap, 0);
}

TEST(GemmaConfig, TakesTheDefaultsOfItsClass) {
  const ModelConfig c = config_from_json(gemma2());
  EXPECT_EQ(c.head_dim, 256);
  EXPECT_EQ(c.hidden_size, 2304);
  EXPECT_EQ(c.attention_scale, 0.0625f);
  EXPECT_EQ(c.activation, Activation::kGeluTanh);
  EXPECT_TRUE(c.tie_word_embeddings && c.post_norms && c.norms_without_one);
  EXPECT_EQ(c.qk_norm, QkNorm::kNone);
  EXPECT_THAT(windows(c), ElementsAre(4096, 0, 4096, 0));
  EXPECT_EQ(config_from_json(gemma3()).qk_norm, QkNorm::kHead);
}

TEST(GemmaConfig, RoundsTheEmbeddingScaleToTheTypeOfTheWeights) {
  Json json = gemma2();
  json["hidden_size"] = 1152;
  EXPECT_EQ(config_from_json(json).embedding_scale, 34);
  json["torch_dtype"] = "float32";
  EXPECT_EQ(config_from_json(json).embedding_scale, std::sqrt(1152.0f));
  json["torch_dtype"] = "float16";
  EXPECT_EQ(config_from_json(json).embedding_scale, 33.9375f);
  json.erase("torch_dtype");
  EXPECT_EQ(config_from_json(json).embedding_scale, 34);
}

TEST(GemmaConfig, TheFirstHasTheGateOfTheOthersWhateverHiddenActSays) {
  const Json json = {{"architectures", {"GemmaForCausalLM"}},
                     {"hidden_act", "gelu"},
                     {"hidden_activation", nullptr},
                     {"hidden_size", 2048},
                     {"intermediate_size", 16384},
                     {"num_attention_heads", 8},
                     {"num_hidden_layers", 18},
                     {"num_key_value_heads", 1}};
  const ModelConfig c = config_from_json(json);
  EXPECT_EQ(c.activation, Activation::kGeluTanh);
  EXPECT_FALSE(c.post_norms);
  EXPECT_EQ(parameters(c), 2'506'172'416);
}

TEST(GemmaConfig, ReadsWindowsAsAPatternOrAsAList) {
  EXPECT_THAT(windows(config_from_json(gemma3())), ElementsAre(512, 512, 512, 512, 512, 0, 512));
  Json json = gemma3(4);
  json["sliding_window_pattern"] = 2;
  EXPECT_THAT(windows(config_from_json(json)), ElementsAre(512, 0, 512, 0));
  json["layer_types"] = {"full_attention", "sliding_attention", "full_attention", "full_attention"};
  const ModelConfig c = config_from_json(json);
  EXPECT_THAT(windows(c), ElementsAre(0, 512, 0, 0));
  EXPECT_EQ(c.layers[0].rope, LayerRope::kGlobal);
  EXPECT_EQ(c.layers[1].rope, LayerRope::kLocal);
}

TEST(GemmaConfig, ReadsTheRopesOfBothSpellings) {
  Json older = gemma3(), newer = gemma3();
  older.update({{"rope_theta", 2e6},
                {"rope_local_base_freq", 2e4},
                {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
  newer["rope_parameters"] = {{"full_attention", {{"rope_theta", 2e6}, {"rope_type", "linear"}, {"factor", 8.0}}},
                              {"sliding_attention", {{"rope_theta", 2e4}, {"rope_type", "default"}}}};
  for (const Json& json : {older, newer}) {
    const ModelConfig c = config_from_json(json);
    EXPECT_EQ(c.rope.theta, 2e6);
    EXPECT_EQ(c.rope.scaling, RopeScaling::kLinear);
    EXPECT_EQ(c.rope.factor, 8);
    ASSERT_TRUE(c.local_rope.has_value());
    EXPECT_EQ(c.local_rope->theta, 2e4);
    EXPECT_EQ(c.local_rope->scaling, RopeScaling::kNone);
    EXPECT_EQ(c.local_rope->dims, 256);
  }
}

std::string refusal(const Json& json) {
  return error_of([&] { return config_from_json(json); });
}

TEST(GemmaConfig, RefusesWhatItCannotUse) {
  Json json = gemma3(2);
  json["layer_types"] = {"full_attention"};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr("layer_types"), HasSubstr("1 entries for 2")));
  json["layer_types"] = {"full_attention", "chunked_attention"};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("unsupported: "), HasSubstr("chunked_attention")));
  json["layer_types"] = {"full_attention", 7};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("unsupported: "), HasSubstr("7")));
  json = gemma3();
  json["sliding_window_pattern"] = 0;
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr("sliding_window_pattern is 0")));
  json = gemma2();
  json["attn_logit_softcapping"] = -1.0;
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr("soft-cap is -1")));
  json = gemma2();
  json["query_pre_attn_scalar"] = 0;
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr("attention_scale")));
}

class GemmaGguf : public testing::Test {
 protected:
  void make(const std::string& architecture, std::uint32_t layers) {
    architecture_ = architecture;
    writer_.set("general.architecture", architecture);
    for (const auto& [key, value] : {std::pair("embedding_length", 1152u), std::pair("feed_forward_length", 128u),
                                     std::pair("block_count", layers), std::pair("attention.head_count", 8u),
                                     std::pair("attention.head_count_kv", 2u), std::pair("attention.key_length", 128u),
                                     std::pair("attention.value_length", 128u), std::pair("context_length", 512u),
                                     std::pair("attention.sliding_window", 64u)}) {
      set(key, std::uint32_t{value});
    }
  }
  void set(const std::string& suffix, GgufValue value) { writer_.set(architecture_ + "." + suffix, std::move(value)); }
  ModelConfig config() {
    const auto path = directory_.put("model.gguf", file_of(writer_, {{"token_embd.weight", DType::kF16, {100, 1152}}}));
    return read_config(*open_model(path));
  }

  TestDirectory directory_;
  GgufWriter writer_;
  std::string architecture_;
};

TEST_F(GemmaGguf, IsTheModelOfTheJson) {
  make("gemma2", 4);
  const ModelConfig c = config();
  Json json = gemma2();
  json.update({{"hidden_size", 1152},
               {"intermediate_size", 128},
               {"num_attention_heads", 8},
               {"num_key_value_heads", 2},
               {"head_dim", 128},
               {"query_pre_attn_scalar", 128},
               {"sliding_window", 64}});
  const ModelConfig expected = config_from_json(json);
  EXPECT_EQ(c.embedding_scale, expected.embedding_scale);
  EXPECT_EQ(c.attention_scale, expected.attention_scale);
  EXPECT_EQ(c.attention_softcap, expected.attention_softcap);
  EXPECT_EQ(c.final_softcap, expected.final_softcap);
  EXPECT_EQ(c.rope.theta, expected.rope.theta);
  EXPECT_EQ(c.activation, expected.activation);
  EXPECT_EQ(windows(c), windows(expected));
  EXPECT_TRUE(c.tie_word_embeddings && c.post_norms);
}

TEST_F(GemmaGguf, WritesTheConfigurationThatItRead) {
  for (const char* architecture : {"gemma2", "gemma3"}) {
    make(architecture, 7);
    const ModelConfig c = config();
    Json json = {{"hidden_size", 1152},
                 {"intermediate_size", 128},
                 {"num_hidden_layers", 7},
                 {"num_attention_heads", 8},
                 {"num_key_value_heads", 2},
                 {"head_dim", 128},
                 {"architectures", Json::array({hugging_face_family(c).hugging_face})}};
    hugging_face_family(c).to_json(c, json);
    const ModelConfig back = config_from_json(json);
    EXPECT_EQ(back.attention_scale, c.attention_scale);
    EXPECT_EQ(back.attention_softcap, c.attention_softcap);
    EXPECT_EQ(back.final_softcap, c.final_softcap);
    EXPECT_EQ(windows(back), windows(c));
    EXPECT_EQ(back.layers[0].rope, c.layers[0].rope);
  }
}

TEST_F(GemmaGguf, KnowsTheLargestOfAGenerationByItsLayers) {
  make("gemma2", 46);
  EXPECT_EQ(config().attention_scale, 1.0f / 12.0f);  // 1152 / 8 = 144
}

TEST_F(GemmaGguf, Gemma3HasALocalRopeAndEverySixthLayerSeesAll) {
  make("gemma3", 7);
  set("rope.freq_base", 1e6f);
  set("rope.scaling.type", std::string("linear"));
  set("rope.scaling.factor", 8.0f);
  const ModelConfig c = config();
  EXPECT_THAT(windows(c), ElementsAre(64, 64, 64, 64, 64, 0, 64));
  EXPECT_EQ(c.rope.theta, 1e6);
  EXPECT_EQ(c.rope.scaling, RopeScaling::kLinear);
  ASSERT_TRUE(c.local_rope.has_value());
  EXPECT_EQ(c.local_rope->theta, 1e4);
  EXPECT_EQ(c.local_rope->scaling, RopeScaling::kNone);
  EXPECT_EQ(c.layers[5].rope, LayerRope::kGlobal);
  EXPECT_EQ(c.layers[6].rope, LayerRope::kLocal);
  EXPECT_EQ(c.final_softcap, 0);
}

TEST_F(GemmaGguf, ReadsAPatternAsANumberOrAsAList) {
  make("gemma3", 3);
  set("attention.sliding_window_pattern", std::uint32_t{2});
  EXPECT_THAT(windows(config()), ElementsAre(64, 0, 64));
  set("attention.sliding_window_pattern", std::vector<std::uint32_t>{0, 1, 0});
  EXPECT_THAT(windows(config()), ElementsAre(0, 64, 0));
  set("attention.sliding_window_pattern", std::vector<std::uint32_t>{0, 1});
  EXPECT_THAT(error_of([&] { return config(); }), AllOf(HasSubstr("input: "), HasSubstr("sliding_window_pattern")));
}

}  // namespace
}  // namespace jericho
