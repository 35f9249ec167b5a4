// The GGUF reader and writer against each other, against hand-made bytes and against real files. Lies are in
// hostile_test.cc.
#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_data.h"
#include "formats/gguf_writer.h"
#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufHeader parse(std::string_view file) {
  return parse_gguf_header(bytes_of(file), static_cast<std::int64_t>(file.size()));
}

std::string error_for(std::string_view file) {
  return error_of([&] { return parse(file).version; });
}

// The example of the format's description, byte for byte.
std::string minimal_file() {
  using namespace std::string_literals;
  return "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
         "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\5\0\0\0\0\0\0\0llama"
         "\x11\0\0\0\0\0\0\0general.alignment\4\0\0\0\x20\0\0\0"
         "\1\0\0\0\0\0\0\0t\2\0\0\0\3\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
         "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
         "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40\0\0\xc0\x40\0\0\0\0\0\0\0\0"s;
}

TEST(GgufWriter, WritesTheMinimalFile) {
  GgufWriter writer;
  writer.set("general.architecture", "llama");
  writer.set_alignment(32);
  writer.add_tensor("t", DType::kF32, {2, 3});
  std::ostringstream out;
  writer.begin(out);
  const std::array<float, 6> data = {1, 2, 3, 4, 5, 6};
  writer.append(std::as_bytes(std::span(data)).first(7));  // in pieces
  EXPECT_FALSE(writer.complete());
  writer.append(std::as_bytes(std::span(data)).subspan(7));
  EXPECT_TRUE(writer.complete());
  EXPECT_EQ(out.str(), minimal_file());
  EXPECT_EQ(writer.file_size(), 192_B);
}

TEST(Gguf, ReadsTheMinimalFile) {
  const GgufHeader header = parse(minimal_file());
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(header.data_start, 160);
  EXPECT_EQ(header.metadata.require_text("general.architecture"), "llama");
  EXPECT_EQ(header.metadata.require_integer("general.alignment"), 32);
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].name, "t");
  EXPECT_EQ(header.tensors[0].dtype, DType::kF32);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[0].offset, 160);
  EXPECT_EQ(header.tensors[0].size, 24_B);
  EXPECT_EQ(header.tensors[0].elements(), 6);
}

TEST(Gguf, ReadsBackEveryTypeOfValue) {
  GgufWriter writer;
  writer.set("u8", std::uint8_t{255});
  writer.set("i8", std::int8_t{-1});
  writer.set("u16", std::uint16_t{65535});
  writer.set("i16", std::int16_t{-2});
  writer.set("u32", std::uint32_t{4294967295u});
  writer.set("i32", std::int32_t{-3});
  writer.set("f32", 0.5f);
  writer.set("bool", true);
  writer.set("text", "t");
  writer.set("u64", ~std::uint64_t{0});
  writer.set("i64", std::int64_t{-4});
  writer.set("f64", 0.1);
  writer.set("u32s", std::vector<std::uint32_t>{1, 2});
  writer.set("i32s", std::vector<std::int32_t>{-1, 2});
  writer.set("f32s", std::vector<float>{0.5f});
  writer.set("bools", std::vector<bool>{true, false});
  writer.set("texts", std::vector<std::string>{"", "b"});
  const Metadata metadata = parse(file_of(writer, {})).metadata;
  const auto is = [&](const char* key, const MetadataValue& value) {
    EXPECT_EQ(metadata.entries().at(key), value) << key;
  };
  is("u8", std::uint64_t{255});
  is("i8", std::int64_t{-1});
  is("u16", std::uint64_t{65535});
  is("i16", std::int64_t{-2});
  is("u32", std::uint64_t{4294967295u});
  is("i32", std::int64_t{-3});
  is("f32", 0.5);
  is("bool", true);
  is("text", std::string("t"));
  is("u64", ~std::uint64_t{0});
  is("i64", std::int64_t{-4});
  is("f64", 0.1);
  is("u32s", std::vector<std::uint64_t>{1, 2});
  is("i32s", std::vector<std::int64_t>{-1, 2});
  is("f32s", std::vector<double>{0.5});
  is("bools", std::vector<bool>{true, false});
  is("texts", std::vector<std::string>{"", "b"});
}

TEST(Gguf, PlacesTensorsAtTheAlignmentTheWriterChose) {
  GgufWriter writer;
  writer.set_alignment(4096);
  const std::string file =
      file_of(writer, {{"a", DType::kQ4_0, {2, 32}}, {"empty", DType::kF16, {0, 4}}, {"b", DType::kQ6_K, {256}}});
  const GgufHeader header = parse(file);
  EXPECT_EQ(header.data_start, 4096);
  EXPECT_EQ(header.tensors[0].offset, 4096);
  EXPECT_EQ(header.tensors[0].size, 36_B);
  EXPECT_EQ(header.tensors[1].size, 0_B);
  EXPECT_EQ(header.tensors[2].offset, 8192);
  EXPECT_EQ(file.size(), 12288u);
}

TEST(GgufWriter, RefusesATypeThatGgufLacks) {
  GgufWriter writer;
  EXPECT_EQ(error_of([&] { return writer.add_tensor("m", DType::kBool, {1}), 0; }),
            "unsupported: tensor 'm': has type Bool, which GGUF lacks");
}

TEST(Gguf, NeedsOnlyTheHeaderAtHand) {
  const std::string file = minimal_file();
  EXPECT_EQ(parse_gguf_header(bytes_of(file).first(143), 192).tensors.size(), 1u);
}

TEST(Gguf, AsksAboutTheDownloadWhenTheDataAreCut) {
  const std::string file = minimal_file();
  EXPECT_EQ(error_for(std::string_view(file).substr(0, 183)),
            "input: tensor 't': its 24 bytes begin at byte 160, the file has 183; is the download complete?");
  EXPECT_THAT(error_for(std::string_view(file).substr(0, 100)), HasSubstr("is the download complete?"));
  EXPECT_EQ(error_for(std::string_view(file).substr(0, 184)), "");  // the last padding may be missing
}

TEST(Gguf, SaysWhichVersionItCannotRead) {
  std::string file = minimal_file();
  file[4] = 1;
  EXPECT_THAT(error_for(file), HasSubstr("version 1, long out of use"));
  file[4] = 4;
  EXPECT_THAT(error_for(file), HasSubstr("version 4, expected 2 or 3"));
  file[4] = 0;
  file[7] = 3;
  EXPECT_THAT(error_for(file), HasSubstr("big-endian"));
}

TEST(Gguf, NamesTheTwinKey) {
  std::string file = minimal_file();
  file.replace(file.find("general.alignment"), 17, "general.zlignment");
  EXPECT_EQ(error_for(file), "");
  GgufWriter writer;
  writer.set("key.a", std::uint32_t{1});
  writer.set("key.b", std::uint32_t{1});
  file = file_of(writer, {});
  file[file.find("key.b") + 4] = 'a';
  EXPECT_EQ(error_for(file), "input: key 'key.a' stands twice in the header");
}

TEST(Gguf, NamesTensorAndTypeItDoesNotSupport) {
  std::string file = file_of(GgufWriter(), {{"w", DType::kQ4_K, {256}}});
  file[24 + 8 + 1 + 4 + 8] = 16;
  EXPECT_EQ(error_for(file), "unsupported: tensor 'w': has type 16 (IQ2_XXS), which is not supported");
}

TEST(Gguf, FindsAllPartsFromAnyOfThem) {
  const TestDirectory directory;
  for (int part = 0; part < 3; ++part) {
    GgufWriter writer;
    writer.set("split.no", static_cast<std::uint16_t>(part));
    writer.set("split.count", std::uint16_t{3});
    writer.set("split.tensors.count", std::int32_t{3});
    if (part == 0) writer.set("general.architecture", "llama");
    directory.put(fmt::format("m-0000{}-of-00003.gguf", part + 1),
                  file_of(writer, {{fmt::format("t{}", part), DType::kF32, {8}}}));
  }
  for (int part = 1; part <= 3; ++part) {
    const GgufModel model = open_gguf(directory.path() / fmt::format("m-0000{}-of-00003.gguf", part));
    ASSERT_EQ(model.tensors.size(), 3u);
    EXPECT_EQ(model.tensors[2].name, "t2");
    EXPECT_EQ(model.tensors[2].file, 2);
    EXPECT_EQ(model.files[2].filename(), "m-00003-of-00003.gguf");
    EXPECT_EQ(model.metadata.require_text("general.architecture"), "llama");
  }
}

// Two parts; `change` may spoil the second before it is written.
std::string error_of_split(std::uint16_t second_number, std::int32_t tensors, const char* second_name) {
  const TestDirectory directory;
  for (int part = 0; part < 2; ++part) {
    GgufWriter writer;
    writer.set("split.no", part == 0 ? std::uint16_t{0} : second_number);
    writer.set("split.count", std::uint16_t{2});
    writer.set("split.tensors.count", tensors);
    directory.put(part == 0 ? "m-00001-of-00002.gguf" : second_name,
                  file_of(writer, {{fmt::format("t{}", part), DType::kF32, {8}}}));
  }
  return error_of([&] { return open_gguf(directory.path() / "m-00001-of-00002.gguf").files.size(); });
}

TEST(Gguf, RefusesPartsThatDoNotBelongTogether) {
  EXPECT_EQ(error_of_split(1, 2, "m-00002-of-00002.gguf"), "");
  EXPECT_THAT(error_of_split(0, 2, "m-00002-of-00002.gguf"), HasSubstr("says it is part 1 of 2, expected part 2 of 2"));
  EXPECT_THAT(error_of_split(1, 5, "m-00002-of-00002.gguf"), HasSubstr("the 2 parts hold 2 tensors, expected 5"));
  EXPECT_THAT(error_of_split(1, 2, "other.gguf"), HasSubstr("m-00002-of-00002.gguf: part 2 of 2 is missing"));
}

TEST(Gguf, SaysHowPartsMustBeCalled) {
  const TestDirectory directory;
  GgufWriter writer;
  writer.set("split.count", std::uint16_t{2});
  EXPECT_THAT(error_of([&] { return open_gguf(directory.put("part.gguf", file_of(writer, {}))).files.size(); }),
              HasSubstr("is not called NAME-00001-of-00002.gguf"));
}

TEST(Gguf, ReadsInPiecesWhatItReadsAtOnce) {
  GgufWriter writer;
  std::vector<std::string> tokens;
  for (int i = 0; i < 20000; ++i) tokens.push_back(fmt::format("token {}", i));  // several windows
  writer.set("tokens", tokens);
  const TestDirectory directory;
  const auto path = directory.put("m.gguf", file_of(writer, {{"t", DType::kF32, {4}}}));
  EXPECT_EQ(open_gguf(path).metadata.require_texts("tokens"), tokens);
}

TEST(Gguf, OpensTheGoldenModels) {
  JERICHO_NEEDS_DATA("golden");
  int opened = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test_data("golden"))) {
    const auto path = entry.path() / "model.gguf";
    if (!std::filesystem::exists(path)) continue;
    const GgufModel model = open_gguf(path);
    EXPECT_FALSE(model.metadata.require_text("general.architecture").empty()) << path;
    EXPECT_GT(model.tensors.size(), 5u) << path;
    ++opened;
  }
  EXPECT_GE(opened, 9);
}

TEST(Gguf, OpensTheQuantizedModelsOfSupportedTypes) {
  JERICHO_NEEDS_DATA("golden/quant");
  for (const char* type : {"Q4_0", "Q4_1", "Q8_0", "Q4_K_S", "Q6_K", "TQ2_0", "BF16"}) {
    const GgufModel model = open_gguf(test_data(fmt::format("golden/quant/{}.gguf", type)));
    bool found = false;
    for (const TensorInfo& tensor : model.tensors) {
      if (tensor.name != "blk.0.ffn_down.weight") continue;
      EXPECT_EQ(tensor.dtype, dtype_from_name(std::string_view(type) == "Q4_K_S" ? "Q4_K" : type));
      EXPECT_THAT(tensor.shape, ElementsAre(256, 512));
      found = true;
    }
    EXPECT_TRUE(found) << type;
  }
}

TEST(Gguf, OpensVocabularies) {
  JERICHO_NEEDS_DATA("tokenizers/ggml-vocab");
  for (const auto& entry : std::filesystem::directory_iterator(test_data("tokenizers/ggml-vocab"))) {
    if (entry.path().extension() != ".gguf") continue;
    const GgufModel model = open_gguf(entry.path());
    EXPECT_TRUE(model.tensors.empty());
    EXPECT_GT(model.metadata.require_texts("tokenizer.ggml.tokens").size(), 1000u) << entry.path();
  }
}

TEST(Gguf, OpensAModelFromElsewhere) {
  JERICHO_NEEDS_DATA("models/llama-2-tiny-random");
  const GgufModel model = open_gguf(test_data("models/llama-2-tiny-random/llama-2-tiny-random.gguf"));
  EXPECT_EQ(model.metadata.require_text("general.architecture"), "llama");
}

}  // namespace
}  // namespace jericho
