// A configuration says the same in either format: every real config.json that can be run goes to the metadata of a GGUF,
// is read from there, and is written as config.json again.
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "convert/config_to_gguf.h"
#include "convert/config_to_json.h"
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
  GgufWriter keys;
  write_gguf_config(c, "x", keys);
  for (const auto& [key, value] : keys.key_values())
    all.push_back(key + " = " + std::visit([](const auto& v) { return fmt::format("{}", v); }, value));
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    all.push_back(fmt::format("layer {}: attention {} state space {} feed-forward {} window {} rope {}", i, l.attention,
                              static_cast<int>(l.state_space), static_cast<int>(l.feed_forward), l.window,
                              l.attention ? static_cast<int>(l.rope) : 0));
  }
  all.push_back(fmt::format("activation {} qk_norm {} post_norms {} sub_norms {} scale {} caps {} {} scales {} {} {}",
                            static_cast<int>(c.activation), static_cast<int>(c.qk_norm), c.post_norms, c.sub_norms,
                            c.attention_scale, c.attention_softcap, c.final_softcap, c.embedding_scale,
                            c.residual_scale, c.logit_scale));
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

}  // namespace
}  // namespace jericho
