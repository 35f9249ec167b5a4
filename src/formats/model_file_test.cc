// Opening models as a user would, rightly and wrongly, and what is said when it fails.
#include "formats/model_file.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "base/test_data.h"
#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

std::string error_for(const std::filesystem::path& path) {
  return error_of([&] { return open_model(path)->tensors().size(); });
}

TEST(ModelFile, TellsGgufByItsContent) {
  const TestDirectory directory;
  GgufWriter writer;
  writer.set("general.architecture", "llama");
  const auto path = directory.put("model.bin", file_of(writer, {{"b", DType::kF32, {2}}, {"a", DType::kF16, {3}}}));
  const auto model = open_model(path);
  EXPECT_EQ(model->format(), ModelFormat::kGguf);
  EXPECT_EQ(model->path(), path);
  EXPECT_THAT(model->files(), testing::ElementsAre(path));
  EXPECT_TRUE(model->config().is_null());
  EXPECT_EQ(model->side_file("tokenizer.json", 1_KiB), std::nullopt);
  ASSERT_NE(model->find("a"), nullptr);
  EXPECT_EQ(model->find("a")->dtype, DType::kF16);
  EXPECT_EQ(model->find("c"), nullptr);
  EXPECT_EQ(model->find(""), nullptr);
}

TEST(ModelFile, OpensADirectory) {
  const TestDirectory directory;
  directory.put("config.json", R"({"hidden_size": 64})");
  directory.put("tokenizer.json", "{}");
  directory.put("model.safetensors", file_of(SafetensorsWriter(), {{"w", DType::kBF16, {4, 2}}}));
  const auto model = open_model(directory.path());
  EXPECT_EQ(model->format(), ModelFormat::kHuggingFace);
  EXPECT_EQ(model->config()["hidden_size"], 64);
  EXPECT_TRUE(model->metadata().entries().empty());
  EXPECT_EQ(model->find("w")->elements(), 8);
  EXPECT_EQ(model->side_file("tokenizer.json", 1_KiB), "{}");
  EXPECT_EQ(model->side_file("generation_config.json", 1_KiB), std::nullopt);
  EXPECT_THAT(error_of([&] { return model->side_file("tokenizer.json", 1_B); }),
              HasSubstr("has 2 B, expected at most 1"));
  EXPECT_THAT(error_of([&] { return model->side_file("../secret", 1_KiB); }), HasSubstr("is no name of a file"));
}

TEST(ModelFile, SaysWhatAFileIsInstead) {
  const TestDirectory directory;
  EXPECT_THAT(error_for(directory.put("a.gguf", "")), EndsWith("is empty; is the download complete?"));
  EXPECT_THAT(error_for(directory.put("b", "version https://git-lfs.github.com/spec/v1\noid")),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(error_for(directory.put("c", file_of(SafetensorsWriter(), {{"w", DType::kF32, {4}}}))),
              HasSubstr("is a single safetensors file; give the directory"));
  EXPECT_THAT(error_for(directory.put("d.bin", "PK\x03\x04 archive/data.pkl")), HasSubstr("is a PyTorch file"));
  EXPECT_THAT(error_for(directory.put("e.bin", "tjgg\3")), HasSubstr("before GGUF"));
  EXPECT_THAT(error_for(directory.put("f", "hello")), HasSubstr("is neither a GGUF file nor a directory"));
  EXPECT_THAT(error_for(directory.path() / "absent"), testing::StartsWith("io: " + directory.path().string()));
  EXPECT_THAT(error_for(directory.path() / "absent"), EndsWith("does not exist"));
}

TEST(ModelFile, NamesThePathOnce) {
  const TestDirectory directory;
  const auto path = directory.put("m.gguf", "GGUF\3");
  EXPECT_EQ(error_for(path),
            "input: " + path.string() +
                ": the version at byte 4 takes at least 4 x 1 bytes, the file has 1 bytes more; is the "
                "download complete?");
}

TEST(ModelFile, DoesNotWaitForAPipe) {
  const TestDirectory directory;
  ASSERT_EQ(::mkfifo((directory.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_for(directory.path() / "pipe"), EndsWith("is not a regular file"));
}

TEST(ModelFile, SaysWhatADirectoryLacks) {
  const TestDirectory directory;
  EXPECT_THAT(error_for(directory.path()), EndsWith("has no config.json; is the download complete?"));
  directory.put("adapter_config.json", "{}");
  EXPECT_THAT(error_for(directory.path()),
              EndsWith("has no config.json; it is an adapter: give the base model as the model"));
  directory.put("config.json", "{}");
  directory.put("pytorch_model.bin", "PK");
  EXPECT_THAT(error_for(directory.path()),
              HasSubstr("has neither model.safetensors nor model.safetensors.index.json; it has PyTorch"));
  directory.put("m.gguf", "GGUF");
  EXPECT_THAT(error_for(directory.path()), EndsWith("give the .gguf file itself"));
  directory.put("model.safetensors", "");
  EXPECT_THAT(error_for(directory.path()), HasSubstr("model.safetensors: is too short"));
  directory.put("config.json", "[]");
  EXPECT_THAT(error_for(directory.path()), EndsWith("config.json is array, expected an object"));
}

TEST(ModelFile, HasTheSameNumberOfWeightsInBothFormsOfTheGoldenModels) {
  JERICHO_NEEDS_DATA("golden");
  for (const char* name : {"llama-mha", "qwen2", "qwen3", "gemma2", "mixtral", "stories260K"}) {
    const auto count = [](const ModelFile& model) {
      Index elements = 0;
      for (const TensorInfo& tensor : model.tensors()) elements += tensor.elements();
      return elements;
    };
    const auto folder = test_data("golden") / name;
    EXPECT_EQ(count(*open_model(folder / "model.gguf")), count(*open_model(folder / "hf"))) << name;
  }
  for (const char* name : {"llama-gqa-tied", "mamba", "falcon-h1"}) {
    EXPECT_GT(open_model(test_data("golden") / name / "hf")->tensors().size(), 5u) << name;
  }
}

}  // namespace
}  // namespace jericho
