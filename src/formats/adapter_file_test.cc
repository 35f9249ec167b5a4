// PEFT folders: what is read, what is refused and how that is said.
#include "formats/adapter_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";
constexpr const char* kDown = "model.layers.0.mlp.down_proj";

std::vector<TestTensor> module_tensors(const std::string& path, Index rank, Index in, Index out) {
  return {{lora_a_name(path), DType::kF32, {rank, in}}, {lora_b_name(path), DType::kF32, {out, rank}}};
}

std::vector<TestTensor> both_modules() {
  std::vector<TestTensor> tensors = module_tensors(kQ, 8, 64, 32);
  for (TestTensor& t : module_tensors(kDown, 4, 128, 64)) tensors.push_back(std::move(t));
  return tensors;
}

class Folder {
 public:
  Folder(const std::string& config, const std::vector<TestTensor>& tensors) {
    folder_.put(kAdapterConfig, config);
    folder_.put(kAdapterTensors, file_of(SafetensorsWriter(), tensors));
  }
  [[nodiscard]] std::filesystem::path path() const { return folder_.path(); }

 private:
  TestDirectory folder_;
};

std::string refusal(const std::string& config, const std::vector<TestTensor>& tensors = both_modules()) {
  const Folder folder(config, tensors);
  return error_of([&] { return AdapterFile(folder.path()).parameters(); });
}

TEST(AdapterFile, TakesTheDefaultsOfPeftWhereNothingIsSaid) {
  const Folder folder(R"({"peft_type": "LORA"})", module_tensors(kQ, 8, 64, 32));
  const AdapterFile file(folder.path());
  EXPECT_EQ(file.settings().rank, 8);
  EXPECT_EQ(file.settings().alpha, 8);
  ASSERT_EQ(file.modules().size(), 1u);
  EXPECT_EQ(file.modules()[0].path, kQ);
  EXPECT_EQ(file.modules()[0].scale, 1);
  EXPECT_EQ(file.parameters(), 8 * (64 + 32));
}

TEST(AdapterFile, GivesModulesTheRanksAndAlphasOfTheirPatterns) {
  const Folder folder(R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "rank_pattern": {"mlp.down_proj": 4},
                          "alpha_pattern": {"layers\\.[0-9]+\\.mlp\\.\\w+": 6}, "some_new_key": {"a": 1}})",
                      both_modules());
  const AdapterFile file(folder.path());
  ASSERT_EQ(file.modules().size(), 2u);
  EXPECT_EQ(file.modules()[0].path, kDown);
  EXPECT_EQ(file.modules()[0].rank(), 4);
  EXPECT_EQ(file.modules()[0].scale, 1.5);
  EXPECT_EQ(file.modules()[1].rank(), 8);
  EXPECT_EQ(file.modules()[1].scale, 2);
}

TEST(AdapterFile, DividesByTheRootOfTheRankForRsLora) {
  const Folder folder(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": true})",
                      module_tensors(kQ, 4, 64, 32));
  EXPECT_EQ(AdapterFile(folder.path()).modules()[0].scale, 4);
}

TEST(AdapterFile, ReadsMagnitudesUnderEitherName) {
  for (const char* suffix : {"", ".weight"}) {
    std::vector<TestTensor> tensors = module_tensors(kQ, 8, 64, 32);
    tensors.push_back({lora_magnitude_name(kQ) + suffix, DType::kF32, {32}});
    const Folder folder(R"({"peft_type": "LORA", "use_dora": true})", tensors);
    EXPECT_TRUE(AdapterFile(folder.path()).modules()[0].magnitude.has_value());
  }
}

TEST(AdapterFile, ReadsBackTheSettingsItWrites) {
  AdapterSettings settings;
  settings.rank = 16;
  settings.alpha = 32;
  settings.rslora = true;
  settings.dora = true;
  settings.dropout = 0.125;
  settings.base_model = "builtin";
  settings.target_modules = {"q_proj", "down_proj"};
  settings.rank_pattern = {{"mlp.down_proj", 4}};
  settings.alpha_pattern = {{"mlp.down_proj", 2.5}};
  const AdapterSettings again = parse_adapter_settings(to_json(settings).dump(), "written");
  EXPECT_EQ(again.rank, 16);
  EXPECT_EQ(again.alpha, 32);
  EXPECT_TRUE(again.rslora && again.dora);
  EXPECT_EQ(again.dropout, 0.125);
  EXPECT_EQ(again.base_model, "builtin");
  EXPECT_THAT(again.target_modules, ElementsAre("q_proj", "down_proj"));
  EXPECT_EQ(again.rank_pattern, settings.rank_pattern);
  EXPECT_EQ(again.alpha_pattern, settings.alpha_pattern);
}

TEST(AdapterFile, NamesTheKeyWhoseMathematicsItLacks) {
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "use_qalora": true})"), HasSubstr("'use_qalora'"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "modules_to_save": ["lm_head"]})"), HasSubstr("'modules_to_save'"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "layer_replication": [[0, 2]]})"), HasSubstr("'layer_replication'"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "bias": "all"})"), HasSubstr("expected \"none\", found \"all\""));
  EXPECT_THAT(refusal(R"({"peft_type": "IA3"})"), HasSubstr("expected \"LORA\", found \"IA3\""));
  EXPECT_EQ(refusal(R"({"peft_type": "LORA", "modules_to_save": [], "rank_pattern": {"down_proj": 4}})"), "");
}

TEST(AdapterFile, SaysWhatIsWrongWithAKey) {
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "r": 0})"), HasSubstr("'r': expected a whole number from 1 to 2^20"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "r": 1e300})"), HasSubstr("'r': expected"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "lora_alpha": "x"})"), HasSubstr("'lora_alpha': expected a number"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "use_dora": 1})"), HasSubstr("'use_dora': expected true or false"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "rank_pattern": {"(": 4}})"), HasSubstr("'(' is no regular expression"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal("{"), HasSubstr("adapter_config.json"));
}

TEST(AdapterFile, RefusesPatternsThatDisagreeAboutAModule) {
  const auto patterns = [](int second) {
    return R"({"peft_type": "LORA", "r": 4, "alpha_pattern": {"down_proj": 4, "mlp.down_proj": )" +
           std::to_string(second) + "}}";
  };
  const std::vector<TestTensor> tensors = module_tensors(kDown, 4, 128, 64);
  EXPECT_THAT(refusal(patterns(6), tensors), HasSubstr("'down_proj' and 'mlp.down_proj' both match"));
  EXPECT_EQ(refusal(patterns(4), tensors), "");
}

TEST(AdapterFile, StopsAnExpressionThatWouldTakeForEver) {
  std::vector<TestTensor> tensors = module_tensors(std::string(60, 'a') + "!b", 8, 64, 32);
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "rank_pattern": {"((a+)+)+b": 4}})", tensors),
              HasSubstr("takes too long"));
}

TEST(AdapterFile, NamesTheTensorThatDoesNotFit) {
  const std::string lora = R"({"peft_type": "LORA"})";
  EXPECT_THAT(refusal(lora), HasSubstr("mlp.down_proj.lora_A.weight': expected [8, in], of the rank that"));
  EXPECT_THAT(refusal(lora, {{lora_a_name(kQ), DType::kF32, {8, 64}}}), HasSubstr("q_proj.lora_B.weight': is missing"));
  EXPECT_THAT(refusal(lora, {{lora_a_name(kQ), DType::kF32, {8, 64}}, {lora_b_name(kQ), DType::kF32, {32, 4}}}),
              HasSubstr("q_proj.lora_B.weight': expected [out, 8]"));
  EXPECT_THAT(refusal(lora, {{"base_model.model.lm_head.weight", DType::kF32, {4, 4}}}),
              HasSubstr("modules that are saved whole are not supported"));
  EXPECT_THAT(refusal(lora, {{lora_a_name(kQ), DType::kI32, {8, 64}}}),
              HasSubstr("expected F32, F16 or BF16, found I32"));
  EXPECT_THAT(refusal(lora, {}), HasSubstr("found no tensor"));
  EXPECT_THAT(refusal(R"({"peft_type": "LORA", "use_dora": true})", module_tensors(kQ, 8, 64, 32)),
              HasSubstr("there is no magnitude vector"));
}

TEST(AdapterFile, AsksForTheFilesOfAFolder) {
  const TestDirectory empty;
  EXPECT_THAT(error_of([&] { return AdapterFile(empty.path()).parameters(); }),
              HasSubstr("expected a folder with adapter_config.json and adapter_model.safetensors"));
  empty.put(kAdapterConfig, R"({"peft_type": "LORA"})");
  empty.put("adapter_model.bin", "");
  EXPECT_THAT(error_of([&] { return AdapterFile(empty.path()).parameters(); }),
              HasSubstr("a pickle, which is not read"));
}

TEST(AdapterFile, SurvivesEveryTruncationOfItsFiles) {
  const std::string config = R"({"peft_type": "LORA", "r": 8, "rank_pattern": {"down_proj": 4}})";
  const std::string tensors = file_of(SafetensorsWriter(), both_modules());
  for (std::size_t size = 0; size < 1500; size += 7) {
    const TestDirectory folder;
    folder.put(kAdapterConfig, config.substr(0, std::min(size, config.size())));
    folder.put(kAdapterTensors, tensors.substr(0, size));
    EXPECT_NE(error_of([&] { return AdapterFile(folder.path()).parameters(); }), "") << size;
  }
}

}  // namespace
}  // namespace jericho
