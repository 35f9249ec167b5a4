// Tokenizers there and back: the same texts have the same tokens in a directory, in the GGUF made of it, and in the
// directory made of that. Small invented vocabularies come from the text area's fixtures; real ones need the test data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/test_data.h"
#include "convert/tokenizer_to_gguf.h"
#include "convert/tokenizer_to_hugging_face.h"
#include "formats/model_file.h"
#include "formats/test_files.h"
#include "text/byte_level_bpe.h"
#include "text/chat_template.h"
#include "text/load_tokenizer.h"
#include "text/random_text.h"
#include "text/test_files.h"
#include "text/unicode.h"

namespace jericho {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::unique_ptr<ModelFile> as_model(const std::filesystem::path& directory, const json& config = json::object()) {
  return std::make_unique<ModelFile>(ModelFile::Contents{.format = ModelFormat::kHuggingFace, .path = directory},
                                     config);
}

struct Converted {
  std::unique_ptr<ModelFile> gguf{};
  std::vector<std::string> notes{};
};

// Written into `folder` and opened again.
Converted to_gguf(const ModelFile& directory, Index vocab_size, const TestDirectory& folder) {
  GgufWriter writer;
  writer.set("general.architecture", "llama");
  writer.set("llama.context_length", std::uint32_t{2048});
  Converted result;
  result.notes = write_gguf_tokenizer(directory, vocab_size, writer);
  std::ostringstream out;
  writer.begin(out);
  result.gguf = open_model(folder.put("vocabulary.gguf", out.str()));
  return result;
}

std::unique_ptr<Tokenizer> read_back(const ModelFile& gguf) { return load_tokenizer(*open_model(gguf.path())); }

void put_files(const ModelFile& gguf, const TestDirectory& folder) {
  for (const SideFile& file : hugging_face_tokenizer(gguf)) folder.put(file.name, file.bytes);
}

// The texts of the published vectors, and what they have few of.
std::vector<std::string> hard_texts() {
  std::vector<std::string> texts = {"",
                                    " ",
                                    "   ",
                                    "Hello world",
                                    " Hello,  world!\n\n\n",
                                    "\t\n = ' era 3333 ied 4 ½ months",
                                    "this is 🦙.cpp Äpfel Cửa Việt",
                                    "e\u0301 is é, ﬁ is fi, Ａ is A",
                                    "ab abab aab lo low lower newest widest the then there",
                                    "don't DON'T we'll 'S 12345678 1 22 333",
                                    "if (a[i] != NULL) {\n\treturn x->y; }\r\n",
                                    "日本語とかなカナ 한국어 العربية ไทย русский"};
  const auto vectors = test_data("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf.inp");
  if (!std::filesystem::exists(vectors)) return texts;
  const std::string all = read_text(vectors);
  const std::string separator = "\n__ggml_vocab_test__\n";
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find(separator, at), all.size());
    texts.push_back(all.substr(at, end - at));
    at = end + separator.size();
  }
  RandomText random(7);
  for (int i = 0; i < 200; ++i) texts.push_back(random.unicode(24));
  return texts;
}

void expect_same_tokens(const Tokenizer& expected, const Tokenizer& actual) {
  for (const std::string& text : hard_texts()) {
    EXPECT_EQ(actual.encode(text), expected.encode(text)) << text;
    EXPECT_EQ(actual.decode(actual.encode(text)), expected.decode(expected.encode(text))) << text;
  }
  for (TokenId id = 0; id < expected.size(); ++id) {
    if (expected.piece(id).empty()) continue;  // an id nothing names
    ASSERT_EQ(actual.piece(id), expected.piece(id)) << id;
  }
}

// Every control token written out in a text is that token.
void expect_same_specials(const Tokenizer& expected, const Tokenizer& actual) {
  EXPECT_EQ(actual.bos(), expected.bos());
  if (expected.eos()) {  // else it may be the first of those that end a text
    EXPECT_EQ(actual.eos(), expected.eos());
  }
  EXPECT_EQ(actual.adds_bos(), expected.adds_bos());
  EXPECT_EQ(actual.end_of_generation(), expected.end_of_generation());
  int seen = 0;
  for (TokenId id = 0; id < expected.size(); ++id) {
    ASSERT_EQ(actual.is_control(id), expected.is_control(id)) << id << " " << expected.piece(id);
    if (!expected.is_control(id) || ++seen > 300) continue;
    const std::string text = fmt::format("a{}b {}  c", expected.piece(id), expected.piece(id));
    EXPECT_EQ(actual.encode(text), expected.encode(text)) << text;
  }
}

std::unique_ptr<Tokenizer> load(const ModelFile& directory) {
  return std::make_unique<Tokenizer>(read_hugging_face_tokenizer(
      [&](std::string_view name) { return directory.side_file(name, kMaxTokenizerFile); }, directory.config()));
}

// Directory -> GGUF -> directory -> GGUF; three rows more than tokens.
void expect_round_trip(const ModelFile& directory, std::vector<std::string>* notes = nullptr) {
  const auto before = load(directory);
  const TestDirectory first;
  const Converted converted = to_gguf(directory, before->size() + 3, first);
  if (notes != nullptr) *notes = converted.notes;
  const auto middle = read_back(*converted.gguf);
  EXPECT_EQ(middle->size(), before->size() + 3);
  expect_same_tokens(*before, *middle);
  expect_same_specials(*before, *middle);

  const TestDirectory second;
  put_files(*converted.gguf, second);
  const auto after = load_tokenizer_directory(second.path());
  EXPECT_EQ(after->size(), before->size());
  expect_same_tokens(*before, *after);
  expect_same_specials(*before, *after);
  const auto written = as_model(second.path());
  EXPECT_EQ(find_chat_template(*written, "default"), find_chat_template(directory, "default"));

  const TestDirectory third;
  const Converted again = to_gguf(*written, before->size() + 3, third);
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    ASSERT_EQ(again.gguf->metadata().has(key), converted.gguf->metadata().has(key));
    if (!again.gguf->metadata().has(key)) continue;
    EXPECT_EQ(*again.gguf->metadata().texts(key), *converted.gguf->metadata().texts(key));
  }
  EXPECT_EQ(*again.gguf->metadata().text("tokenizer.ggml.model"),
            *converted.gguf->metadata().text("tokenizer.ggml.model"));
  EXPECT_EQ(*again.gguf->metadata().text("tokenizer.ggml.pre"), *converted.gguf->metadata().text("tokenizer.ggml.pre"));
}

class Fixtures : public testing::TestWithParam<const char*> {};
TEST_P(Fixtures, RoundTrip) { expect_round_trip(*as_model(text_fixture(fmt::format("testdata/{}", GetParam())))); }
INSTANTIATE_TEST_SUITE_P(Tokenizer, Fixtures, testing::Values("vocab-merges", "unigram"), [](const auto& each) {
  std::string name = each.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

class RealTokenizers : public testing::TestWithParam<const char*> {};
TEST_P(RealTokenizers, RoundTrip) {
  const std::string folder = GetParam();
  JERICHO_NEEDS_DATA(folder);
  std::vector<std::string> notes;
  expect_round_trip(*as_model(test_data(folder)), &notes);
  for (const std::string& note : notes) RecordProperty("note", note);
}
INSTANTIATE_TEST_SUITE_P(Tokenizer, RealTokenizers,
                         testing::Values("tokenizers/gpt2", "tokenizers/llama-2", "tokenizers/llama-3",
                                         "tokenizers/qwen2", "tokenizers/gpt-neox-20b", "golden/stories260K/hf",
                                         "golden/gemma2/hf"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

// A directory with these files and nothing else.
class Directory {
 public:
  Directory& with(const std::string& name, const json& content) { return with_text(name, content.dump()); }
  Directory& with_text(const std::string& name, std::string_view content) {
    folder_.put(name, content);
    return *this;
  }
  [[nodiscard]] std::unique_ptr<ModelFile> model() const { return as_model(folder_.path()); }

 private:
  TestDirectory folder_;
};

json byte_level_file(const json& pre_tokenizer) {
  json vocabulary = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocabulary[to_byte_alphabet({&c, 1})] = byte;
  }
  vocabulary["ab"] = 256;
  vocabulary["Ġab"] = 257;
  const auto added = [](int id, const char* text, bool special) {
    return json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  return {{"added_tokens", {added(258, "<|end|>", true), added(260, "[INST]", false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array({"a b", "Ġ ab"})}}}};
}
json byte_level_cut(bool prefix_space) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", true}};
}
json regex_cut(const char* pattern) {
  const json split = {
      {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
}

TEST(TokenizerToGguf, ByteLevelKeys) {
  Directory directory;
  directory.with("tokenizer.json", byte_level_file(byte_level_cut(false)))
      .with("tokenizer_config.json", {{"eos_token", {{"content", "<|end|>"}}}, {"pad_token", "<|end|>"}});
  const TestDirectory folder;
  const Converted converted = to_gguf(*directory.model(), 263, folder);
  const Metadata& metadata = converted.gguf->metadata();
  EXPECT_EQ(*metadata.text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*metadata.text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_THAT(*metadata.texts("tokenizer.ggml.merges"), ElementsAre("a b", "Ġ ab"));
  const auto& tokens = *metadata.texts("tokenizer.ggml.tokens");
  const auto kinds = *metadata.integers("tokenizer.ggml.token_type");
  EXPECT_THAT(std::vector<std::string>(tokens.begin() + 256, tokens.end()),
              ElementsAre("ab", "Ġab", "<|end|>", "[PAD259]", "[INST]", "[PAD261]", "[PAD262]"));
  EXPECT_THAT(std::vector<Index>(kinds.begin() + 256, kinds.end()), ElementsAre(1, 1, 3, 5, 4, 5, 5));
  EXPECT_EQ(metadata.integer("tokenizer.ggml.eos_token_id"), 258);
  EXPECT_EQ(metadata.integer("tokenizer.ggml.padding_token_id"), 258);
  EXPECT_EQ(metadata.integer("tokenizer.ggml.bos_token_id"), std::nullopt);
  EXPECT_EQ(metadata.boolean("tokenizer.ggml.add_bos_token"), false);
  EXPECT_FALSE(metadata.has("tokenizer.ggml.scores"));
  EXPECT_THAT(converted.notes, IsEmpty());
}

TEST(TokenizerToGguf, SpaceBeforeTextsSurvives) {
  Directory directory;
  directory.with("tokenizer.json", byte_level_file(byte_level_cut(true)));
  expect_round_trip(*directory.model());
}

TEST(TokenizerToGguf, BosOfThePostProcessorSurvives) {
  json file = byte_level_file(byte_level_cut(false));
  file["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<|end|>", {{"id", "<|end|>"}, {"ids", {258}}, {"tokens", {"<|end|>"}}}}}}};
  Directory directory;
  directory.with("tokenizer.json", file);
  EXPECT_TRUE(load(*directory.model())->adds_bos());
  expect_round_trip(*directory.model());
}

TEST(TokenizerToGguf, NormalizationSurvivesWhereTheNameImpliesNone) {
  json file = byte_level_file(byte_level_cut(false));
  file["normalizer"] = {{"type", "NFC"}};
  Directory directory;
  directory.with("tokenizer.json", file);
  const TestDirectory folder;
  const Converted converted = to_gguf(*directory.model(), 261, folder);
  EXPECT_EQ(converted.gguf->metadata().boolean("tokenizer.ggml.normalizer.nfc"), true);
  expect_round_trip(*directory.model());
}

TEST(TokenizerToGguf, TokensThatEndGenerationSurvive) {
  for (const json& ends : {json(258), json({97, 258}), json({97, 98, 258}), json(97)}) {
    Directory directory;
    directory.with("tokenizer.json", byte_level_file(byte_level_cut(false)))
        .with("tokenizer_config.json", {{"eos_token", "a"}})
        .with("generation_config.json", {{"eos_token_id", ends}});
    expect_round_trip(*directory.model());
  }
}

TEST(TokenizerToGguf, TemplatesWithNamesSurvive) {
  Directory directory;
  directory.with("tokenizer.json", byte_level_file(byte_level_cut(false)))
      .with("tokenizer_config.json",
            {{"chat_template",
              {{{"name", "default"}, {"template", "one"}}, {{"name", "tool_use"}, {"template", "two"}}}}})
      .with_text("chat_template.jinja", "three");
  const TestDirectory folder;
  const Converted converted = to_gguf(*directory.model(), 261, folder);
  EXPECT_EQ(*converted.gguf->metadata().text("tokenizer.chat_template"), "three");
  EXPECT_EQ(*converted.gguf->metadata().text("tokenizer.chat_template.tool_use"), "two");
  EXPECT_THAT(*converted.gguf->metadata().texts("tokenizer.chat_templates"), ElementsAre("tool_use"));
  const TestDirectory back;
  put_files(*converted.gguf, back);
  EXPECT_EQ(find_chat_template(*as_model(back.path()), "tool_use"), "two");
  EXPECT_EQ(find_chat_template(*as_model(back.path()), "default"), "three");
}

std::string error_of_converting(const ModelFile& directory, Index vocab_size = 512) {
  return error_of([&] {
    GgufWriter writer;
    return write_gguf_tokenizer(directory, vocab_size, writer);
  });
}

TEST(TokenizerToGguf, RefusesByName) {
  Directory unknown_cut;
  unknown_cut.with("tokenizer.json", byte_level_file(regex_cut("[A-Z]+|x")));
  EXPECT_THAT(error_of_converting(*unknown_cut.model()),
              testing::AllOf(HasSubstr("unsupported: "), HasSubstr("[A-Z]+|x"), HasSubstr("names a family")));
  EXPECT_THAT(error_of_converting(*unknown_cut.model(), 260), HasSubstr("[A-Z]+|x"));

  Directory normalizes;
  json file = byte_level_file(byte_level_cut(false));
  file["normalizer"] = {{"type", "Lowercase"}};
  normalizes.with("tokenizer.json", file);
  EXPECT_THAT(error_of_converting(*normalizes.model()), HasSubstr("the normalizer Lowercase"));

  Directory small;
  small.with("tokenizer.json", byte_level_file(byte_level_cut(false)));
  EXPECT_THAT(error_of_converting(*small.model(), 260), HasSubstr("has 261 tokens, but the model has rows for 260"));
  EXPECT_EQ(error_of_converting(*small.model(), 261), "");

  Directory whole_pieces;
  file = byte_level_file(byte_level_cut(false));
  file["model"]["ignore_merges"] = true;
  whole_pieces.with("tokenizer.json", file);
  EXPECT_THAT(error_of_converting(*whole_pieces.model()), HasSubstr("with ignore_merges"));

  Directory bad_template;
  bad_template.with("tokenizer.json", byte_level_file(byte_level_cut(false)))
      .with("tokenizer_config.json", {{"chat_template", 7}});
  EXPECT_THAT(error_of_converting(*bad_template.model()), HasSubstr("chat_template: expected text or a list"));

  EXPECT_THAT(error_of_converting(*Directory().model()), HasSubstr("no tokenizer"));
  const auto loose_rules = as_model(text_fixture("testdata/metaspace"));
  EXPECT_THAT(error_of_converting(*loose_rules),
              testing::AllOf(HasSubstr("no rule merges them"), HasSubstr("tokenizer.model")));
}

TEST(TokenizerToGguf, TellsWhatAGgufCannotSay) {
  const auto at_start_only = as_model(text_fixture("testdata/sentencepiece"));
  const TestDirectory folder;
  const Converted converted = to_gguf(*at_start_only, 512, folder);
  EXPECT_THAT(converted.notes, testing::Contains(HasSubstr("not behind special tokens")));
  expect_same_tokens(*load(*at_start_only), *read_back(*converted.gguf));
}

TEST(TokenizerToHuggingFace, RefusesByName) {
  const auto error_with = [](const auto& set) {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", "gpt-2");
    writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"});
    writer.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    set(writer);
    std::ostringstream out;
    writer.begin(out);
    const TestDirectory folder;
    const auto gguf = open_model(folder.put("v.gguf", out.str()));
    return error_of([&] { return hugging_face_tokenizer(*gguf).size(); });
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(error_with([](GgufWriter&) {}), "");
  EXPECT_THAT(error_with([](GgufWriter& w) { w.set("tokenizer.ggml.model", "rwkv"); }), HasSubstr("'rwkv'"));
  EXPECT_THAT(error_with([](GgufWriter& w) { w.set("tokenizer.ggml.pre", "nobody"); }), HasSubstr("'nobody'"));
  EXPECT_THAT(error_with([](GgufWriter& w) { w.set("tokenizer.ggml.pre", "deepseek-llm"); }),
              HasSubstr("a cut whose pattern is not known"));
  EXPECT_THAT(error_with([](GgufWriter& w) {
                w.set("tokenizer.ggml.tokens", Texts{"a", "b", "ab", "\xff"});
              }),
              HasSubstr("token 3 is not UTF-8"));
  EXPECT_THAT(error_with([](GgufWriter& w) {
                w.set("tokenizer.ggml.tokens", Texts{"a", "b", "ab", "b"});
              }),
              HasSubstr("tokens 1 and 3 are both 'b'"));
  EXPECT_THAT(error_with([](GgufWriter& w) { w.set("tokenizer.chat_template", "\xff"); }), HasSubstr("not UTF-8"));
}

TEST(TokenizerToHuggingFace, TakesTheWholeFileWithinTheGguf) {
  GgufWriter writer;
  writer.set("general.architecture", "llama");
  Directory directory;
  directory.with("tokenizer.json", byte_level_file(byte_level_cut(false)));
  write_gguf_tokenizer(*directory.model(), 261, writer);
  writer.set("tokenizer.huggingface.json", "{\"as\":\"it is\"}");
  std::ostringstream out;
  writer.begin(out);
  const TestDirectory folder;
  const auto files = hugging_face_tokenizer(*open_model(folder.put("v.gguf", out.str())));
  ASSERT_FALSE(files.empty());
  EXPECT_EQ(files[0].name, "tokenizer.json");
  EXPECT_EQ(files[0].bytes, "{\"as\":\"it is\"}");
}

TEST(TokenizerToHuggingFace, KeepsPaddingThatHasAMeaning) {
  for (const char* model : {"gpt2", "llama"}) {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", model);
    writer.set("tokenizer.ggml.pre", "gpt-2");
    writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "[PAD3]", "[PAD4]"});
    writer.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 5});
    writer.set("tokenizer.ggml.scores", std::vector<float>{0.0f, -1.0f, 0.0f, 0.0f, 0.0f});
    writer.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    for (const char* id : {"bos", "eos", "unknown"})
      writer.set(fmt::format("tokenizer.ggml.{}_token_id", id), std::uint32_t{3});
    std::ostringstream out;
    writer.begin(out);
    const TestDirectory folder;
    const TestDirectory back;
    put_files(*open_model(folder.put("v.gguf", out.str())), back);
    const auto tokenizer = load_tokenizer_directory(back.path());
    EXPECT_EQ(tokenizer->size(), 4) << model;
    EXPECT_EQ(tokenizer->unk(), 3) << model;
    EXPECT_EQ(tokenizer->bos(), 3) << model;
  }
}

// The vocabularies of llama.cpp against those made of the same models' directories.
struct Twin {
  const char* directory;
  const char* gguf;
};
class Twins : public testing::TestWithParam<Twin> {};
TEST_P(Twins, AreEqual) {
  JERICHO_NEEDS_DATA(std::string(GetParam().directory));
  const auto published = open_model(test_data(GetParam().gguf));
  const Metadata& expected = published->metadata();
  const auto& tokens = *expected.texts("tokenizer.ggml.tokens");
  const TestDirectory folder;
  const Converted converted = to_gguf(*as_model(test_data(GetParam().directory)), tokens.size(), folder);
  const Metadata& actual = converted.gguf->metadata();
  EXPECT_EQ(*actual.texts("tokenizer.ggml.tokens"), tokens);
  EXPECT_EQ(*actual.integers("tokenizer.ggml.token_type"), *expected.integers("tokenizer.ggml.token_type"));
  EXPECT_EQ(actual.numbers("tokenizer.ggml.scores"), expected.numbers("tokenizer.ggml.scores"));
  ASSERT_EQ(actual.has("tokenizer.ggml.merges"), expected.has("tokenizer.ggml.merges"));
  if (actual.has("tokenizer.ggml.merges")) {
    EXPECT_EQ(*actual.texts("tokenizer.ggml.merges"), *expected.texts("tokenizer.ggml.merges"));
  }
  for (const char* text : {"tokenizer.ggml.model", "tokenizer.ggml.pre"})
    EXPECT_EQ(*actual.text(text), *expected.text(text));
  for (const char* id : {"bos_token_id", "eos_token_id", "unknown_token_id"}) {
    const std::string key = fmt::format("tokenizer.ggml.{}", id);
    EXPECT_EQ(actual.integer(key), expected.integer(key)) << key;
  }
}
INSTANTIATE_TEST_SUITE_P(Tokenizer, Twins,
                         testing::Values(Twin{"tokenizers/gpt2", "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"},
                                         Twin{"tokenizers/llama-2", "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"},
                                         Twin{"golden/stories260K/hf", "golden/stories260K/model.gguf"}));

// A tokenizer.json alone has merge rules, in the order of the scores its tokenizer.model had. (All but those of runs of
// spaces, which the conversion that made this file put last.)
TEST(TokenizerToGguf, ScoresOfRulesFallAsThoseOfTheModel) {
  JERICHO_NEEDS_DATA("tokenizers/llama-2/tokenizer.json");
  Directory rules;
  rules.with_text("tokenizer.json", read_text(test_data("tokenizers/llama-2/tokenizer.json")));
  const TestDirectory folder;
  const Converted converted = to_gguf(*rules.model(), 32000, folder);
  const auto& tokens = *converted.gguf->metadata().texts("tokenizer.ggml.tokens");
  const auto scores = *converted.gguf->metadata().numbers("tokenizer.ggml.scores");
  for (std::size_t id = 0; id < 259; ++id) EXPECT_EQ(scores[id], 0.0) << id;
  double last = 1.0;
  for (std::size_t id = 259; id < 32000; ++id) {
    if (replace_all(tokens[id], kMetaspace, "").empty()) continue;
    ASSERT_LT(scores[id], last) << id;
    last = scores[id];
  }
  expect_round_trip(*rules.model());
}

class PublishedVocabularies : public testing::TestWithParam<const char*> {};
TEST_P(PublishedVocabularies, RoundTrip) {
  const std::string file = fmt::format("tokenizers/ggml-vocab/ggml-vocab-{}.gguf", GetParam());
  JERICHO_NEEDS_DATA(file);
  const auto before = load_tokenizer_file(test_data(file));
  const TestDirectory folder;
  put_files(*open_model(test_data(file)), folder);
  const auto middle = load_tokenizer_directory(folder.path());
  const TestDirectory second;
  const auto after = read_back(*to_gguf(*as_model(folder.path()), before->size(), second).gguf);
  for (const std::string& text : hard_texts()) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
      EXPECT_EQ(middle->encode(text, {.special = special}), before->encode(text, {.special = special})) << text;
      EXPECT_EQ(after->encode(text, {.special = special}), before->encode(text, {.special = special})) << text;
    }
  }
  EXPECT_EQ(middle->bos(), before->bos());
  EXPECT_EQ(middle->adds_bos(), before->adds_bos());
  EXPECT_EQ(after->size(), before->size());
  if (std::string_view(GetParam()) == "bert-bge") return;  // generates nothing; a directory takes [SEP] for its end
  EXPECT_EQ(middle->end_of_generation(), before->end_of_generation());
  EXPECT_EQ(after->end_of_generation(), before->end_of_generation());
}
INSTANTIATE_TEST_SUITE_P(Tokenizer, PublishedVocabularies,
                         testing::Values("gpt-2", "llama-spm", "phi-3", "deepseek-coder", "falcon", "bert-bge"));

}  // namespace
}  // namespace jericho
