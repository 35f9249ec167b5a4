// Safetensors headers, indices and sharded directories. Lies are in hostile_test.cc.
#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "base/test_data.h"
#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string with_header(const std::string& json, std::size_t data) {
  const std::uint64_t length = json.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + json + std::string(data, '\0');
}

std::string error_for(const std::string& json, std::size_t data) {
  const std::string file = with_header(json, data);
  return error_of(
      [&] { return parse_safetensors_header(bytes_of(file), static_cast<std::int64_t>(file.size())).data_start; });
}

TEST(Safetensors, ReadsBackWhatTheWriterWrote) {
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  const std::string file =
      file_of(writer, {{"b", DType::kF32, {2, 3}}, {"a", DType::kBF16, {5}}, {"s", DType::kI64, {}}});
  const SafetensorsHeader header = parse_safetensors_header(bytes_of(file), static_cast<std::int64_t>(file.size()));
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.data_start % 8, 0);
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "b");
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[0].offset, header.data_start);
  EXPECT_EQ(header.tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(header.tensors[1].offset, header.data_start + 24);
  EXPECT_EQ(header.tensors[2].size, 8_B);
  EXPECT_EQ(header.tensors[2].offset + 8, static_cast<std::int64_t>(file.size()));
}

TEST(SafetensorsWriter, RefusesBlockTypes) {
  SafetensorsWriter writer;
  EXPECT_EQ(error_of([&] { return writer.add_tensor("w", DType::kQ4_0, {32}), 0; }),
            "unsupported: tensor 'w': has type Q4_0, which safetensors lacks");
}

TEST(Safetensors, AsksAboutTheDownloadWhenTheDataAreCut) {
  EXPECT_EQ(error_for(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7),
            "input: tensor 't': its 8 bytes begin at byte 0 of the data, which have 7; is the download complete?");
}

TEST(Safetensors, NamesTensorAndDtypeItDoesNotSupport) {
  EXPECT_EQ(error_for(R"({"t":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}})", 2),
            "unsupported: header: tensor 't': has dtype 'F8_E5M2', which is not supported");
}

TEST(Safetensors, HoldsShapeAgainstBytes) {
  EXPECT_EQ(error_for(R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
            "input: header: tensor 't': has 8 bytes of data, its shape and dtype F32 need 12");
}

TEST(Safetensors, RefusesOverlap) {
  EXPECT_EQ(
      error_for(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
          7),
      "input: tensor 'b': begins at byte 3 of the data, within another tensor that ends at 4");
}

TEST(Safetensors, RefusesTwins) {
  EXPECT_THAT(
      error_for(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
      HasSubstr("two tensors are called 'a'"));
}

TEST(Safetensors, NamesTheByteOfBrokenJson) {
  EXPECT_THAT(error_for(R"({"a":})", 0), HasSubstr("header: not valid JSON at byte 6"));
}

TEST(SafetensorsIndex, RefusesPathsThatLeaveTheDirectory) {
  for (const char* file : {"../x", "/etc/passwd", "..", ".", "", "a/b", "a\\\\b", "a\\u0000b"}) {
    EXPECT_THAT(
        error_of([&] { return parse_safetensors_index(fmt::format(R"({{"weight_map":{{"t":"{}"}}}})", file)).size(); }),
        HasSubstr("is no name of a file beside the index"))
        << file;
  }
}

TEST(SafetensorsIndex, RefusesTwinsAndWrongTypes) {
  const auto error = [](const char* text) { return error_of([&] { return parse_safetensors_index(text).size(); }); };
  EXPECT_THAT(error(R"({"weight_map":{"t":"a","t":"b"}})"), HasSubstr("tensor 't': stands twice"));
  EXPECT_THAT(error(R"({"weight_map":{"t":1}})"), HasSubstr("a number is out of place"));
  EXPECT_THAT(error(R"({"weight_map":{"t":{}}})"), HasSubstr("an object is out of place"));
  EXPECT_THAT(error(R"({"weight_map":{}})"), HasSubstr("has no tensors"));
  EXPECT_THAT(error(R"([])"), HasSubstr("out of place"));
  EXPECT_THAT(error(R"({"metadata":{"total_size":1,"more":[null,true,{"t":"/"}]},"weight_map":{"t":"a"}})"), "");
}

class ShardedModel : public testing::Test {
 protected:
  void SetUp() override {
    directory_.put(
        "model.safetensors.index.json",
        R"({"metadata":{"total_size":24},"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"1.safetensors"}})");
    directory_.put("1.safetensors", file_of(SafetensorsWriter(), {{"c", DType::kF32, {2}}, {"a", DType::kF32, {2}}}));
    directory_.put("2.safetensors", file_of(SafetensorsWriter(), {{"b", DType::kF32, {2}}}));
  }
  std::string error() {
    return error_of([&] { return open_safetensors(directory_.path()).files.size(); });
  }
  TestDirectory directory_;
};

TEST_F(ShardedModel, IsReadThroughItsIndex) {
  const SafetensorsModel model = open_safetensors(directory_.path());
  ASSERT_EQ(model.tensors.size(), 3u);
  EXPECT_EQ(model.tensors[0].name, "c");
  EXPECT_EQ(model.tensors[0].file, 0);
  EXPECT_EQ(model.tensors[2].name, "b");
  EXPECT_EQ(model.files[static_cast<std::size_t>(model.tensors[2].file)].filename(), "2.safetensors");
}

TEST_F(ShardedModel, NamesTheMissingShard) {
  std::filesystem::remove(directory_.path() / "2.safetensors");
  EXPECT_THAT(error(), HasSubstr("2.safetensors: is missing, the index names it"));
}

TEST_F(ShardedModel, NamesTheTensorThatIsNotWhereTheIndexHasIt) {
  directory_.put("2.safetensors", file_of(SafetensorsWriter(), {{"x", DType::kF32, {2}}}));
  EXPECT_THAT(error(), HasSubstr("tensor 'b' is not in '2.safetensors', where the index has it"));
}

TEST_F(ShardedModel, RefusesATensorInTwoShards) {
  directory_.put("2.safetensors", file_of(SafetensorsWriter(), {{"b", DType::kF32, {2}}, {"a", DType::kF32, {2}}}));
  EXPECT_THAT(error(), HasSubstr("two tensors are called 'a'"));
}

TEST_F(ShardedModel, NamesTheShardThatIsCut) {
  std::filesystem::resize_file(directory_.path() / "2.safetensors", 70);
  EXPECT_THAT(error(), testing::ContainsRegex("2.safetensors: .*is the download complete"));
}

}  // namespace
}  // namespace jericho
