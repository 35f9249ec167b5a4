// Configurations of both formats: what is read from them, what is refused and in which words, and what they amount to
// in parameters and KV bytes.
#include "models/config.h"

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
#include "models/published_shapes.h"
#include "models/transformer.h"
#include "models/weights.h"
#include "ops/paged_attention.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

Index parameters(const Json& config) {
  return WeightLayout::of_shape(config_from_json(config), DType::kF16).parameters();
}

TEST(ModelConfig, AmountsToThePublishedParameters) {
  EXPECT_EQ(parameters(llama3_8b()), 8'030'261'248);
  EXPECT_EQ(parameters(llama3_70b()), 70'553'706'496);
  EXPECT_EQ(parameters(llama2_7b()), 6'738'415'616);
  EXPECT_EQ(parameters(llama32_1b()), 1'235'814'400);
  EXPECT_EQ(parameters(qwen25_half_b()), 494'032'768);
  EXPECT_EQ(parameters(mixtral_8x7b()), 46'702'792'704);
}

std::vector<Index> windows(const ModelConfig& config) {
  std::vector<Index> all;
  for (const LayerConfig& layer : config.layers) all.push_back(layer.window);
  return all;
}

std::int64_t kv_per_token(const Json& json, KvType type = KvType::kF16) {
  const ModelConfig c = config_from_json(json);
  return kv_layout(c, type).bytes_per_token().count;
}

TEST(ModelConfig, AmountsToThePublishedKvBytes) {
  EXPECT_EQ(kv_per_token(llama3_8b()), 131072);
  EXPECT_EQ(kv_per_token(llama3_70b()), 327680);
  EXPECT_EQ(kv_per_token(llama2_7b()), 524288);
  EXPECT_EQ(kv_per_token(llama32_1b()), 32768);
  EXPECT_EQ(kv_per_token(qwen25_half_b()), 12288);
  EXPECT_EQ(kv_per_token(mixtral_8x7b()), 131072);
  EXPECT_EQ(kv_per_token(llama3_8b(), KvType::kF32), 262144);
  EXPECT_EQ(kv_per_token(llama3_8b(), KvType::kQ8), 69632);
}

TEST(ModelConfig, KvOfAWholeContextIsThePublishedSize) {
  const ModelConfig c = config_from_json(llama3_8b());
  const KvLayout layout = kv_layout(c, KvType::kF16);
  EXPECT_EQ(layout.page_bytes(), 2_MiB);
  EXPECT_EQ(layout.page_bytes() * (131072 / kPageTokens), 16_GiB);
}

TEST(ConfigJson, TakesTheDefaultsOfTransformers) {
  Json json = llama3_8b();
  json.erase("num_key_value_heads");
  json.erase("max_position_embeddings");
  const ModelConfig c = config_from_json(json);
  EXPECT_EQ(c.num_key_value_heads, 32);
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.rope.dims, 128);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_EQ(c.rms_norm_eps, 1e-6f);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_FALSE(c.tie_word_embeddings || c.attention_qkv_bias || c.attention_output_bias || c.mlp_bias);
  EXPECT_EQ(c.qk_norm, QkNorm::kNone);
  EXPECT_THAT(windows(c), AllOf(testing::SizeIs(32), Each(0)));
}

TEST(ConfigJson, ReadsRopeScalingInItsThreeSpellings) {
  const Json values = {
      {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  Json older = llama3_8b(), newer = llama3_8b(), newest = llama3_8b();
  for (Json* json : {&older, &newer}) (*json)["rope_theta"] = 500000.0, (*json)["rope_scaling"] = values;
  older["rope_scaling"]["type"] = "llama3";
  newer["rope_scaling"]["rope_type"] = "llama3";
  newest["rope_parameters"] = values;
  newest["rope_parameters"]["rope_theta"] = 500000.0;
  newest["rope_parameters"]["rope_type"] = "llama3";
  for (const Json& json : {older, newer, newest}) {
    const RopeConfig rope = config_from_json(json).rope;
    EXPECT_EQ(rope.scaling, RopeScaling::kLlama3);
    EXPECT_EQ(rope.theta, 500000);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.original_max_position_embeddings, 8192);
  }
}

TEST(ConfigJson, Qwen2HasBiasesOnQueriesKeysAndValuesOnly) {
  const ModelConfig c = config_from_json(qwen25_half_b());
  EXPECT_TRUE(c.attention_qkv_bias);
  EXPECT_FALSE(c.attention_output_bias);
  EXPECT_FALSE(c.mlp_bias);
}

TEST(ConfigJson, Qwen2SeesAWindowOnlyWhereItSaysSo) {
  Json json = qwen25_half_b();
  json["sliding_window"] = 512;
  json["max_window_layers"] = 21;
  EXPECT_THAT(windows(config_from_json(json)), Each(0));
  json["use_sliding_window"] = true;
  const ModelConfig c = config_from_json(json);
  for (std::size_t layer = 0; layer < 24; ++layer) EXPECT_EQ(c.layers[layer].window, layer < 21 ? 0 : 512) << layer;
  json["use_sliding_window"] = nullptr;
  EXPECT_THAT(windows(config_from_json(json)), Each(0));
}

TEST(ConfigJson, Qwen3HasHeadsOfTheirOwnWidthAndNormsOnThem) {
  Json json = llama_json(28, 1024, 3072, 16, 8, 151936);
  json["architectures"] = {"Qwen3ForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"};
  json["head_dim"] = 128;
  const ModelConfig c = config_from_json(json);
  EXPECT_EQ(c.qk_norm, QkNorm::kHead);
  EXPECT_EQ(c.query_size(), 2048);
  EXPECT_FALSE(c.attention_qkv_bias);
}

TEST(ConfigJson, MistralSeesAWindowInEveryLayer) {
  Json json = llama_json(4, 256, 512, 8, 2, 100);
  json["architectures"] = {"MistralForCausalLM"};
  json["sliding_window"] = 4096;
  EXPECT_THAT(windows(config_from_json(json)), Each(4096));
  json["sliding_window"] = nullptr;
  EXPECT_THAT(windows(config_from_json(json)), Each(0));
}

std::string refusal(const Json& json) {
  return error_of([&] { return config_from_json(json); });
}

TEST(ConfigJson, NamesTheArchitectureItDoesNotKnowAndThoseItDoes) {
  Json json = llama2_7b();
  json["architectures"] = {"NemotronHForCausalLM"};
  EXPECT_THAT(refusal(json),
              AllOf(HasSubstr("unsupported: "), HasSubstr("NemotronHForCausalLM"), HasSubstr("Qwen3ForCausalLM")));
}

TEST(ConfigJson, ReadsTheActivationByAnyOfItsNames) {
  Json json = llama2_7b();
  for (const char* name : {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"}) {
    json["hidden_act"] = name;
    EXPECT_EQ(config_from_json(json).activation, Activation::kGeluTanh) << name;
  }
  json["hidden_act"] = "relu2";
  EXPECT_EQ(config_from_json(json).activation, Activation::kRelu2);
}

TEST(ConfigJson, NamesTheFeatureItCannotDo) {
  Json json = llama2_7b();
  json["hidden_act"] = "gelu";  // the one with erf
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("unsupported: "), HasSubstr("'gelu'"), HasSubstr("gelu_pytorch_tanh")));
  json = llama2_7b();
  json["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("unsupported: "), HasSubstr("dynamic")));
  json = llama2_7b();
  json["rope_parameters"] = {{"full_attention", {{"rope_theta", 1e6}}}};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("unsupported: "), HasSubstr("full_attention")));
}

TEST(ConfigJson, NamesTheKeyThatIsMissingOrOfTheWrongType) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    Json json = llama2_7b();
    json.erase(key);
    EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr(key), HasSubstr("missing")));
    json[key] = "many";
    EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr(key), HasSubstr("many")));
    json[key] = 1.5;
    EXPECT_THAT(refusal(json), AllOf(HasSubstr("input: "), HasSubstr(key)));
  }
  EXPECT_THAT(refusal(Json::array()), HasSubstr("input: "));
  EXPECT_THAT(refusal(Json::object()), HasSubstr("architectures"));
}

TEST(ConfigJson, RefusesSizesThatCannotBe) {
  const auto with = [](const char* key, const Json& value) {
    Json json = llama2_7b();
    json[key] = value;
    return refusal(json);
  };
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"}) {
    EXPECT_THAT(with(key, 0), HasSubstr("input: ")) << key;
    EXPECT_THAT(with(key, -1), HasSubstr("input: ")) << key;
    EXPECT_THAT(with(key, std::int64_t{1} << 40), HasSubstr("input: ")) << key;
  }
  EXPECT_THAT(with("num_key_value_heads", 5), HasSubstr("32 attention heads cannot share 5"));
  EXPECT_THAT(with("head_dim", 127), HasSubstr("127"));
  EXPECT_THAT(with("rope_theta", 0), HasSubstr("rope_theta is 0"));
  EXPECT_THAT(with("rms_norm_eps", -1), HasSubstr("rms_norm_eps is -1"));
  EXPECT_THAT(with("rope_scaling", {{"type", "linear"}, {"factor", 0}}), HasSubstr("factor is 0"));
}

class GgufConfig : public testing::Test {
 protected:
  GgufConfig() {
    writer_.set("general.architecture", "llama");
    for (const auto& [key, value] : {std::pair("embedding_length", 64u), std::pair("feed_forward_length", 128u),
                                     std::pair("block_count", 2u), std::pair("attention.head_count", 4u),
                                     std::pair("attention.head_count_kv", 2u), std::pair("context_length", 512u)}) {
      set(key, std::uint32_t{value});
    }
    tensors_ = {{"token_embd.weight", DType::kF32, {100, 64}}};
  }
  void set(const std::string& suffix, GgufValue value) { writer_.set("llama." + suffix, std::move(value)); }
  ModelConfig config() {
    const auto path = directory_.put("model.gguf", file_of(writer_, tensors_));
    return read_config(*open_model(path));
  }
  std::string refusal() {
    return error_of([&] { return config(); });
  }

  TestDirectory directory_;
  GgufWriter writer_;
  std::vector<TestTensor> tensors_;
};

TEST_F(GgufConfig, ReadsSizesFromKeysAndTheRestFromTensors) {
  const ModelConfig c = config();
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.rope.dims, 16);
  EXPECT_EQ(c.vocab_size, 100);
  EXPECT_EQ(c.max_position_embeddings, 512);
  EXPECT_EQ(c.rms_norm_eps, 1e-5f);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_TRUE(c.interleaved_qk_rows);
  EXPECT_FALSE(c.attention_qkv_bias || c.rope_divisors_in_file);
}

TEST_F(GgufConfig, SeesAHeadBiasesAndRopeDivisorsByTheirTensors) {
  tensors_.push_back({"output.weight", DType::kF32, {100, 64}});
  tensors_.push_back({"blk.0.attn_q.bias", DType::kF32, {64}});
  tensors_.push_back({"rope_freqs.weight", DType::kF32, {8}});
  const ModelConfig c = config();
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_TRUE(c.attention_qkv_bias);
  EXPECT_TRUE(c.rope_divisors_in_file);
}

TEST_F(GgufConfig, NamesTheKeyThatIsMissing) {
  GgufWriter bare;
  bare.set("general.architecture", "llama");
  writer_ = bare;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("input: "), HasSubstr("llama.embedding_length")));
}

TEST_F(GgufConfig, NamesTheFeatureItCannotDo) {
  set("rope.scaling.type", std::string("longrope"));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("unsupported: "), HasSubstr("longrope")));
  set("rope.scaling.type", std::string("none"));
  set("attention.head_count_kv", std::vector<std::uint32_t>{2, 1});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("unsupported: "), HasSubstr("head_count_kv per layer")));
  writer_.set("general.architecture", "t5");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("unsupported: "), HasSubstr("'t5'"), HasSubstr("qwen3")));
}

TEST_F(GgufConfig, IsAMixtralWhereALlamaHasExperts) {
  set("expert_count", std::uint32_t{8});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("input: "), HasSubstr("llama.expert_used_count")));
  set("expert_used_count", std::uint32_t{9});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("input: "), HasSubstr("experts per token is 9")));
  set("expert_used_count", std::uint32_t{2});
  const ModelConfig c = config();
  EXPECT_EQ(c.moe.experts, 8);
  EXPECT_EQ(c.moe.experts_per_token, 2);
  EXPECT_EQ(c.moe.intermediate_size, 128);
  EXPECT_TRUE(c.moe.normalize && c.interleaved_qk_rows);
  for (const LayerConfig& layer : c.layers) EXPECT_EQ(layer.feed_forward, FeedForward::kExperts);
  set("expert_count", std::uint32_t{0});
  EXPECT_EQ(config().layers[0].feed_forward, FeedForward::kDense);
}

TEST_F(GgufConfig, RefusesSizesThatCannotBe) {
  set("attention.head_count", std::uint32_t{0});
  EXPECT_THAT(refusal(), HasSubstr("input: "));
  set("attention.head_count", std::uint32_t{4});
  set("block_count", std::uint32_t{4'000'000'000u});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("input: "), HasSubstr("num_hidden_layers")));
}

}  // namespace
}  // namespace jericho
