// Shapes of configurations that no family reads, and every configuration there is.
#include "audit/guessed_shape.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "audit/audit.h"
#include "audit/report_json.h"
#include "audit/report_text.h"
#include "base/error.h"
#include "base/test_data.h"
#include "formats/json_file.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

Index parameters(const ModelConfig& config) { return WeightLayout::of_shape(config, DType::kBF16).parameters(); }

TEST(GuessedShape, ReadsTheNamesOfMetasOwnFiles) {
  const GuessedShape guess = guess_shape(
      {{"dim", 576}, {"hidden_dim", 1536}, {"n_heads", 9}, {"n_kv_heads", 3}, {"n_layers", 30}, {"vocab_size", 49152}});
  EXPECT_EQ(parameters(guess.config), 134'515'008 + 49152 * 576);  // the file does not say that its embedding is shared
  EXPECT_FALSE(guess.notes.empty());
}

TEST(GuessedShape, MergesTheLettersOfAHybridIntoLayers) {
  Json json = {{"hidden_size", 512},
               {"num_hidden_layers", 6},
               {"num_attention_heads", 8},
               {"vocab_size", 1000},
               {"intermediate_size", 1536},
               {"mamba_num_heads", 16},
               {"mamba_head_dim", 64},
               {"ssm_state_size", 128},
               {"n_groups", 8},
               {"hybrid_override_pattern", "M-M*-M"}};
  const ModelConfig config = guess_shape(json).config;
  ASSERT_EQ(config.layers.size(), 4U);
  EXPECT_EQ(config.attention_layers(), 1);
  EXPECT_EQ(config.state_space_layers(), 3);
  EXPECT_EQ(config.layers[0].feed_forward, FeedForward::kDense);
  EXPECT_EQ(config.layers[1].feed_forward, FeedForward::kNone);
  EXPECT_EQ(config.intermediate_size, 1024);  // two matrices of 1536 are three of 1024
  json["hybrid_override_pattern"] = "-M";
  EXPECT_THROW(static_cast<void>(guess_shape(json)), Error);
  json["hybrid_override_pattern"] = "MX";
  EXPECT_THROW(static_cast<void>(guess_shape(json)), Error);
}

TEST(GuessedShape, LetsLayersWithAWindowForget) {
  const Json json = {{"hidden_size", 512},       {"num_hidden_layers", 2},
                     {"num_attention_heads", 8}, {"vocab_size", 1000},
                     {"sliding_window", 128},    {"layer_types", {"sliding_attention", "full_attention"}}};
  const ModelConfig config = guess_shape(json).config;
  EXPECT_EQ(config.layers[0].window, 128);
  EXPECT_EQ(config.layers[1].window, 0);
  EXPECT_EQ(config.intermediate_size, 2048);
}

TEST(GuessedShape, OfNonsenseIsRefused) {
  const Json good = {{"hidden_size", 512}, {"num_hidden_layers", 2}, {"num_attention_heads", 8}, {"vocab_size", 1000}};
  EXPECT_NO_THROW(static_cast<void>(guess_shape(good)));
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    for (const Json& value :
         {Json(nullptr), Json(0), Json(-1), Json("many"), Json(std::int64_t{1} << 60), Json::array()}) {
      SCOPED_TRACE(std::string(key) + " " + value.dump());
      Json bad = good;
      bad[key] = value;
      EXPECT_THROW(static_cast<void>(guess_shape(bad)), Error);
    }
  }
  Json types = good;
  types["layer_types"] = {"full_attention"};
  EXPECT_THROW(static_cast<void>(guess_shape(types)), Error);
  EXPECT_THROW(static_cast<void>(guess_shape(Json::array())), Error);
}

TEST(EveryConfiguration, IsAudited) {
  JERICHO_NEEDS_DATA("configs");
  const Device device = DeviceList::built_in().named("h200");
  int known = 0, guessed = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test_data("configs"))) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().string());
    const Json json = read_json_file(entry.path());
    ModelConfig config;
    try {
      config = config_from_json(json);
      ++known;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kUnsupported) << error.what();
      config = guess_shape(json).config;
      ++guessed;
    }
    const WeightLayout weights = WeightLayout::of_shape(config, DType::kBF16);
    const ModelView model{config, weights};
    const AuditRequest request{.model = entry.path().stem(),
                               .context = std::min<Index>(4096, config.max_position_embeddings)};
    const Audit audit = make_audit(model, request, planner_for(model, device.memory), device);
    EXPECT_GT(audit.parameters.total, 0);
    EXPECT_GT(audit.plan.smallest.smallest_budget, Bytes{});
    EXPECT_GT(audit.speed->decode.tokens_per_second(), 0);
    EXPECT_THAT(report_text({.audit = audit}), HasSubstr("starves first"));
    EXPECT_NO_THROW(static_cast<void>(to_json(AuditReport{.audit = audit}).dump()));
  }
  EXPECT_GT(known, 20);
  EXPECT_GT(guessed, 5);
}

struct KnownSize {
  const char* file;
  double parameters;
};

TEST(GuessedShape, OfPublishedModelsIsNearTheirSize) {
  JERICHO_NEEDS_DATA("configs");
  for (const auto& [file, expected] :
       {KnownSize{"gpt-oss-20b", 20.9e9}, KnownSize{"qwen3.5-35b-a3b-hybrid", 35e9},
        KnownSize{"nemotron-h-56b-hybrid", 56e9}, KnownSize{"nemotron-3-nano-30b-a3b-hybrid-moe", 31.6e9},
        KnownSize{"llama-4-scout-17b-16e", 108e9}, KnownSize{"lfm2-1.2b-native", 1.2e9},
        KnownSize{"deepseek-v2-lite-native", 15.7e9}, KnownSize{"mimo-7b", 7.8e9}}) {
    SCOPED_TRACE(file);
    const ModelConfig config = guess_shape(read_json_file(test_data(std::string("configs/") + file + ".json"))).config;
    EXPECT_NEAR(static_cast<double>(parameters(config)) / expected, 1, 0.15);
  }
}

}  // namespace
}  // namespace jericho
