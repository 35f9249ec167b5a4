// Real configurations of published models: each is planned without its weights, with the parameters and KV bytes that
// it is known to have, or refused by the name of what is missing.
#include <map>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "formats/json_file.h"
#include "models/families.h"
#include "plan/plan.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

struct Expected {
  std::string refused_for{};      // empty: it is planned
  Index parameters = 0;           // 0: not looked at
  std::int64_t kv_per_token = 0;  // fp16
};

const std::map<std::string, Expected>& known() {
  static const std::string native = "no 'architectures'";
  static const std::map<std::string, Expected> table = {
      {"assembled/bitnet-b1.58-2b-4t", {"", 2'412'820'480, 76'800}},
      {"assembled/jamba-v0.1", {""}},
      {"assembled/llama-2-7b", {"", 6'738'415'616, 524'288}},
      {"assembled/mamba-2.8b-native", {"", 2'768'345'600}},
      {"assembled/mistral-7b-v0.1", {"", 7'241'732'096, 131'072}},
      {"assembled/olmoe-1b-7b", {"", 6'919'161'856, 131'072}},
      {"deepseek-v2-lite-native", {native}},
      {"deepseek-v3", {""}},
      {"eagle-draft-llama-2-7b", {""}},  // drafts say that they are a Llama; their tensors tell them apart
      {"eagle-draft-mixtral-8x7b", {""}},
      {"eagle3-draft-llama-3-8b", {"LlamaForCausalLMEagle3"}},
      {"gemma-2-2b", {"", 2'614'341'888}},
      {"gemma-3-1b", {"", 999'885'952}},
      {"gemma-4-26b-a4b", {"Gemma4ForConditionalGeneration"}},
      {"gpt-oss-20b", {"GptOssForCausalLM"}},
      {"lfm2-1.2b-native", {native}},
      {"llama-3-70b", {"", 70'553'706'496, 327'680}},
      {"llama-3.1-405b", {"", 405'853'388'800}},
      {"llama-3.1-70b", {"", 70'553'706'496, 327'680}},
      {"llama-3.1-8b", {"", 8'030'261'248, 131'072}},
      {"llama-3.2-1b", {"", 1'235'814'400, 32'768}},
      {"llama-4-scout-17b-16e", {"Llama4ForConditionalGeneration"}},
      {"mimo-7b", {"MiMoForCausalLM"}},
      {"mixtral-8x7b", {"", 46'702'792'704, 131'072}},
      {"mobilellm-1.5b", {""}},
      {"mobilellm-125m", {"", 124'635'456 + 32'000 * 576, 23'040}},  // it says that its embedding is not shared
      {"mobilellm-1b", {""}},
      {"mobilellm-350m", {""}},
      {"mobilellm-600m", {""}},
      {"nemotron-3-nano-30b-a3b-hybrid-moe", {"NemotronHForCausalLM"}},
      {"nemotron-h-56b-hybrid", {"NemotronHForCausalLM"}},
      {"phi-3.5-mini", {"", 3'821'079'552, 393'216}},
      {"qwen2-1.5b", {"", 1'543'714'304}},
      {"qwen2.5-0.5b", {"", 494'032'768, 12'288}},
      {"qwen2.5-3b", {"", 3'085'938'688}},
      {"qwen3-0.6b", {"", 596'049'920, 114'688}},
      {"qwen3-1.7b", {"", 1'720'574'976}},
      {"qwen3-235b-a22b", {"", 235'093'634'560}},
      {"qwen3-235b-a22b-fp8", {"", 235'093'634'560}},
      {"qwen3-30b-a3b", {"", 30'532'122'624}},
      {"qwen3-32b", {"", 32'762'123'264}},
      {"qwen3.5-35b-a3b-hybrid", {"Qwen3_5MoeForConditionalGeneration"}},
      {"smollm2-135m-native", {native}}};
  return table;
}

TEST(KnownConfigs, ArePlannedOrRefusedByTheNameOfWhatIsMissing) {
  JERICHO_NEEDS_DATA("configs");
  const std::filesystem::path folder = test_data("configs");
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = std::filesystem::relative(entry.path(), folder).replace_extension().string();
    SCOPED_TRACE(name);
    seen.insert(name);
    ASSERT_TRUE(known().contains(name)) << "a configuration that the table does not have";
    const Expected& expected = known().at(name);
    try {
      const ModelConfig config = config_from_json(read_json_file(entry.path()));
      EXPECT_EQ(expected.refused_for, "");
      const WeightLayout layout = WeightLayout::of_shape(config, DType::kBF16);
      if (expected.parameters != 0) {
        EXPECT_EQ(layout.parameters(), expected.parameters);
      }
      if (expected.kv_per_token != 0) {
        EXPECT_EQ(kv_layout(config, KvType::kF16).bytes_per_token().count, expected.kv_per_token);
      }
      const Bytes plenty = layout.bytes() + 64_GiB;
      const auto outcome = plan_inference(config, layout, {}, plenty, {.context = 512});
      ASSERT_TRUE(std::holds_alternative<Plan>(outcome));
      EXPECT_GT(std::get<Plan>(outcome).peak(), layout.bytes());
      EXPECT_LE(std::get<Plan>(outcome).peak(), plenty);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.what();
      ASSERT_NE(expected.refused_for, "") << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(expected.refused_for));
    }
  }
  EXPECT_EQ(seen.size(), known().size());
}

Json phi3_with_long_context() {
  Json config = {{"architectures", {"Phi3ForCausalLM"}},
                 {"hidden_size", 64},
                 {"intermediate_size", 128},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 4},
                 {"vocab_size", 100},
                 {"max_position_embeddings", 131072},
                 {"original_max_position_embeddings", 4096}};
  config["rope_scaling"] = {{"type", "longrope"},
                            {"short_factor", std::vector<double>(8, 1.0)},
                            {"long_factor", std::vector<double>(8, 4.0)}};
  return config;
}

TEST(LongRope, UsesTheLongFactorsWhereTheRequestNeedsThemWhateverTheBudget) {
  const ModelConfig config = config_from_json(phi3_with_long_context());
  const WeightLayout layout = WeightLayout::of_shape(config, DType::kF16);
  const auto plan = [&](const InferenceWish& wish, Bytes budget) {
    return std::get<Plan>(plan_inference(config, layout, {}, budget, wish));
  };
  for (const Bytes budget : {200_MiB, 16_GiB}) {
    EXPECT_FALSE(plan({}, budget).long_context);
    EXPECT_EQ(plan({}, budget).context, 4096);  // there the short factors end
    EXPECT_FALSE(plan({.context_needed = 4096}, budget).long_context);
    EXPECT_TRUE(plan({.context_needed = 4097}, budget).long_context);
    EXPECT_FALSE(plan({.context = 4096}, budget).long_context);
    EXPECT_TRUE(plan({.context = 4097}, budget).long_context);
  }
  EXPECT_EQ(plan({.context_needed = 4097}, 16_GiB).context, 131072);
}

TEST(MobileLlm, SharesItsEmbeddingAndRunsItsLayersTwiceWhereItSaysSo) {
  Json json = {{"architectures", {"MobileLLMForCausalLM"}},
               {"hidden_size", 576},
               {"intermediate_size", 1536},
               {"num_hidden_layers", 30},
               {"num_attention_heads", 9},
               {"num_key_value_heads", 3},
               {"vocab_size", 32000},
               {"tie_word_embeddings", false},
               {"share_embedding", true}};
  ModelConfig config = config_from_json(json);
  EXPECT_EQ(WeightLayout::of_shape(config, DType::kF16).parameters(), 124'635'456);
  EXPECT_EQ(kv_layout(config, KvType::kF16).bytes_per_token().count, 23'040);
  json["layer_sharing"] = true;
  config = config_from_json(json);
  EXPECT_EQ(WeightLayout::of_shape(config, DType::kF16).parameters(), 124'635'456);
  EXPECT_EQ(kv_layout(config, KvType::kF16).bytes_per_token().count, 2 * 23'040);
}

}  // namespace
}  // namespace jericho
