// A configuration says the same in either format: real ones go from config.json to the metadata of a GGUF, are read
// from there, and are written as config.json again. Phi-3's LongRoPE lists lie in tensors, so it is not among them.
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "convert/config_to_gguf.h"
#include "convert/config_to_json.h"
#include "convert/config_words.h"
#include "convert/output_tensors.h"
#include "formats/gguf.h"
#include "formats/json_file.h"
#include "models/families.h"
#include "models/weights.h"

namespace jericho {
namespace {

// Everything that the forward pass and the loader go by, in words.
std::vector<std::string> words(const ModelConfig& c) {
  std::vector<std::string> all;
  for (const auto& [key, value] : config_words(c)) all.push_back(key + " = " + value);
  DecoderWeights weights;
  std::set<std::string> tensors;  // of both formats
  visit_weights(c, weights, [&](const WeightSpec& spec, const WeightView&) {
    if (spec.hugging_face.parts.front().name.empty()) return;
    tensors.insert(fmt::format("{} [{}, {}] {}", spec.name(ModelFormat::kHuggingFace), spec.rows, spec.cols,
                               static_cast<int>(spec.hugging_face.values)));
    tensors.insert(fmt::format("{} [{}, {}] pairs {}", spec.name(ModelFormat::kGguf), spec.rows, spec.cols,
                               spec.gguf.pairs.count));
  });
  all.insert(all.end(), tensors.begin(), tensors.end());
  return all;
}

// The words of one that the other lacks, either way: short where all is well.
std::vector<std::string> difference(const ModelConfig& a, const ModelConfig& b) {
  const std::vector<std::string> of_a = words(a), of_b = words(b);
  std::vector<std::string> lines;
  const auto add = [&](const char* sign, const std::vector<std::string>& from,
                       const std::vector<std::string>& without) {
    const std::set<std::string> there(without.begin(), without.end());
    for (const std::string& word : from) {
      if (there.count(word) == 0) lines.push_back(sign + word);
    }
  };
  add("- ", of_a, of_b);
  add("+ ", of_b, of_a);
  return lines;
}

// The header of the GGUF that a model of this configuration becomes.
std::unique_ptr<ModelFile> as_gguf(const ModelConfig& c) {
  GgufWriter writer;
  const std::string architecture = gguf_architecture(c.architecture);
  writer.set("general.architecture", architecture);
  write_gguf_config(c, architecture, writer);
  const WeightLayout layout = WeightLayout::of_shape(c, DType::kF16);
  for (const OutputTensor& tensor :
       output_tensors(layout, ModelFormat::kGguf, [](const OutputTensor&) { return DType::kF16; })) {
    writer.add_tensor(tensor.name, DType::kF16, tensor.shape);
  }
  std::ostringstream out;
  writer.begin(out);
  const std::string header = out.str();
  GgufHeader parsed = parse_gguf_header(std::as_bytes(std::span(header)), writer.file_size().count);
  return std::make_unique<ModelFile>(ModelFile::Contents{.format = ModelFormat::kGguf,
                                                         .path = "roundtrip.gguf",
                                                         .files = {"roundtrip.gguf"},
                                                         .tensors = std::move(parsed.tensors),
                                                         .metadata = std::move(parsed.metadata)},
                                     nullptr);
}

class ConfigRoundTrip : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(, ConfigRoundTrip,
                         testing::Values("llama-3-70b", "llama-3.1-405b", "mixtral-8x7b", "qwen2-1.5b", "qwen2.5-3b",
                                         "qwen3-0.6b", "qwen3-32b", "qwen3-30b-a3b", "qwen3-235b-a22b", "gemma-2-2b",
                                         "gemma-3-1b", "assembled/llama-2-7b", "assembled/mistral-7b-v0.1",
                                         "assembled/olmoe-1b-7b", "assembled/jamba-v0.1",
                                         "assembled/bitnet-b1.58-2b-4t", "deepseek-v3", "llama-3.1-8b",
                                         "mobilellm-125m"),
                         [](const auto& one) {
                           std::string name;
                           for (const char c : one.param)
                             name.push_back(std::isalnum(static_cast<unsigned char>(c)) ? c : '_');
                           return name;
                         });

TEST_P(ConfigRoundTrip, SaysTheSameInGgufAndInConfigJsonAgain) {
  JERICHO_NEEDS_DATA("configs");
  const auto path = test_data("configs") / (GetParam() + ".json");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path;
  nlohmann::json json = read_json_file(path);
  const ModelConfig config = config_from_json(json);
  const std::unique_ptr<ModelFile> gguf = as_gguf(config);
  const ModelConfig read = read_config(*gguf);
  EXPECT_THAT(difference(config, read), testing::IsEmpty());
  const ModelConfig again = config_from_json(config_to_json(read, *gguf));
  EXPECT_EQ(again.architecture, config.architecture);
  EXPECT_THAT(difference(config, again), testing::IsEmpty());
}

nlohmann::json windowed_qwen2() {
  return {{"architectures", {"Qwen2ForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 100},
          {"use_sliding_window", true},
          {"sliding_window", 8},
          {"max_window_layers", 2}};
}

TEST(ConfigWords, KeepsWindowsThatOnlySomeLayersHave) {
  const ModelConfig config = config_from_json(windowed_qwen2());
  const std::unique_ptr<ModelFile> gguf = as_gguf(config);
  EXPECT_THAT(difference(config, read_config(*gguf)), testing::IsEmpty());
  EXPECT_THAT(difference(config, config_from_json(config_to_json(read_config(*gguf), *gguf))), testing::IsEmpty());
}

TEST(ConfigWords, KeepsGraniteWithExperts) {
  nlohmann::json json = windowed_qwen2();
  json.update({{"architectures", {"GraniteMoeForCausalLM"}},
               {"num_local_experts", 4},
               {"num_experts_per_tok", 2},
               {"embedding_multiplier", 12.0},
               {"residual_multiplier", 0.25},
               {"attention_multiplier", 0.015625},
               {"logits_scaling", 8.0}});
  const ModelConfig config = config_from_json(json);
  EXPECT_EQ(config.moe.experts, 4);
  EXPECT_EQ(config.moe.intermediate_size, 128);
  EXPECT_EQ(config.residual_scale, 0.25f);
  const std::unique_ptr<ModelFile> gguf = as_gguf(config);
  EXPECT_EQ(gguf->metadata().require_text("general.architecture"), "granitemoe");
  EXPECT_THAT(difference(config, read_config(*gguf)), testing::IsEmpty());
  EXPECT_THAT(difference(config, config_from_json(config_to_json(read_config(*gguf), *gguf))), testing::IsEmpty());
}

TEST(ConfigWords, SaysWhatAGgufCannot) {
  nlohmann::json json = windowed_qwen2();
  json["hidden_act"] = "relu2";
  const ModelConfig config = config_from_json(json);
  const std::vector<OutputTensor> tensors = output_tensors(
      WeightLayout::of_shape(config, DType::kF16), ModelFormat::kGguf, [](const OutputTensor&) { return DType::kF16; });
  EXPECT_THAT(lost_in_gguf(config, tensors), testing::ElementsAre(testing::HasSubstr("activation")));
}

}  // namespace
}  // namespace jericho
