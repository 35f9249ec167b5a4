// Real vocabularies against published token ids: the tables of llama.cpp's models/ggml-vocab-*.gguf.inp and .out, and
// the first 100 KiB of TinyStories. All need the test data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/test_data.h"
#include "text/load_tokenizer.h"
#include "text/random_text.h"
#include "text/test_files.h"
#include "text/unicode.h"
#include "text/vocab_merges.h"

namespace jericho {
namespace {

using testing::ElementsAre;

struct Vector {
  std::string text{};
  std::vector<TokenId> ids{};
};

// Texts are separated by a line of their own; ids are one line per text.
std::vector<Vector> read_vectors(const std::string& name) {
  const std::filesystem::path base = test_data("tokenizers/ggml-vocab/ggml-vocab-" + name + ".gguf");
  const std::string texts = read_text(base.string() + ".inp");
  std::istringstream lines(read_text(base.string() + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<Vector> vectors;
  for (std::size_t at = 0; at < texts.size();) {
    const std::size_t end = std::min(texts.find(separator, at), texts.size());
    Vector vector{.text = texts.substr(at, end - at)};
    std::string line;
    std::getline(lines, line);
    std::istringstream ids(line);
    for (TokenId id = 0; ids >> id;) vector.ids.push_back(id);
    vectors.push_back(vector);
    at = end + separator.size();
  }
  return vectors;
}

void expect_vectors(const Tokenizer& tokenizer, const std::string& name) {
  const auto vectors = read_vectors(name);
  ASSERT_GE(vectors.size(), 46u);
  for (const Vector& vector : vectors) {
    const auto ids = tokenizer.encode(vector.text, {.add_bos = false, .special = SpecialTokens::kAsText});
    EXPECT_EQ(ids, vector.ids) << vector.text;
    EXPECT_EQ(tokenizer.decode(ids), vector.text);
  }
}

std::unique_ptr<Tokenizer> load(const std::string& relative) {
  const auto path = test_data("tokenizers/" + relative);
  return std::filesystem::is_directory(path) ? load_tokenizer_directory(path) : load_tokenizer_file(path);
}

#define LOAD_OR_SKIP(tokenizer, relative)                    \
  JERICHO_NEEDS_DATA(std::string("tokenizers/") + relative); \
  const auto tokenizer = load(relative)

TEST(TokenizerVectors, LlamaSpmGguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-llama-spm.gguf");
  expect_vectors(*tokenizer, "llama-spm");
}

TEST(TokenizerVectors, Phi3Gguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-phi-3.gguf");
  expect_vectors(*tokenizer, "phi-3");
}

TEST(TokenizerVectors, Gpt2Gguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-gpt-2.gguf");
  expect_vectors(*tokenizer, "gpt-2");
}

TEST(TokenizerVectors, FalconGguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-falcon.gguf");
  expect_vectors(*tokenizer, "falcon");
}

TEST(TokenizerVectors, DeepSeekCoderGguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-deepseek-coder.gguf");
  expect_vectors(*tokenizer, "deepseek-coder");
}

TEST(TokenizerVectors, BertGguf) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-bert-bge.gguf");
  const auto vectors = read_vectors("bert-bge");
  ASSERT_GE(vectors.size(), 46u);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(tokenizer->encode(vector.text, {.add_bos = false, .special = SpecialTokens::kAsText}), vector.ids)
        << vector.text;
  }
  EXPECT_THAT(tokenizer->encode("Hello World"), ElementsAre(101, 7592, 2088, 102));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("Unbelievable \u00C9clair")), "unbelievable eclair");
}

TEST(TokenizerVectors, LlamaSentencePieceModel) {
  LOAD_OR_SKIP(tokenizer, "llama-2/tokenizer.model");
  expect_vectors(*tokenizer, "llama-spm");
}

TEST(TokenizerVectors, LlamaTokenizerJson) {
  LOAD_OR_SKIP(tokenizer, "llama-2/tokenizer.json");
  expect_vectors(*tokenizer, "llama-spm");
}

TEST(TokenizerVectors, Gpt2VocabAndMerges) {
  LOAD_OR_SKIP(tokenizer, "gpt2");
  expect_vectors(*tokenizer, "gpt-2");
}

TEST(TokenizerVectors, Llama3Tiktoken) {
  LOAD_OR_SKIP(tokenizer, "llama-3");
  expect_vectors(*tokenizer, "llama-bpe");
}

TEST(TokenizerVectors, Qwen2VocabAndMerges) {
  LOAD_OR_SKIP(tokenizer, "qwen2");
  expect_vectors(*tokenizer, "qwen2");
}

// 64-bit FNV-1a of the ids as little-endian int32. When the figure below was taken, sha256sum of the same bytes gave
// tokens_sha256_of_le_int32 of golden/stories260K/golden.json.
std::uint64_t hash_of(const std::vector<TokenId>& ids) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash ^= (static_cast<std::uint32_t>(id) >> shift) & 0xffu;
      hash *= 0x100000001b3u;
    }
  }
  return hash;
}

TEST(TokenizerVectors, StoriesFirst100KiB) {
  JERICHO_NEEDS_DATA("golden/stories260K/model.gguf");
  const std::string text = read_text(test_data("text/tinystories-valid.txt")).substr(0, 102400);
  for (const char* file : {"golden/stories260K/model.gguf", "models/stories260K/tok512.model"}) {
    const auto tokenizer = load_tokenizer_file(test_data(file));
    EXPECT_THAT(tokenizer->encode("Once upon a time"), ElementsAre(1, 403, 407, 261, 378)) << file;
    const auto ids = tokenizer->encode(text);
    EXPECT_EQ(ids.size(), 49216u) << file;
    EXPECT_EQ(hash_of(ids), 8547120867407516483u) << file;
  }
}

// Ids as spm_encode of SentencePiece 0.1.97 gives them line by line, without its line ends. On botchan.txt it differs
// in four lines, where "......." is "." and "......" in either order: their sums are equal, and it adds single
// precision.
TEST(TokenizerVectors, UnigramEqualsSentencePiece) {
  LOAD_OR_SKIP(tokenizer, "sentencepiece-unigram-1000/test_model.model");
  const auto encode_lines = [&](const std::string& text) {
    std::vector<TokenId> ids;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const auto line = tokenizer->encode(text.substr(at, end - at), {.add_bos = false});
      ids.insert(ids.end(), line.begin(), line.end());
      at = end + 1;
    }
    return ids;
  };
  EXPECT_EQ(encode_lines(read_text(test_data("tokenizers/sentencepiece-unigram-1000/botchan.txt"))).size(), 95515u);
  const auto ids = encode_lines(read_text(test_data("text/wikitext2-raw-test.txt")));
  EXPECT_EQ(ids.size(), 624182u);
  EXPECT_EQ(hash_of(ids), 7321248333067465202u);
  EXPECT_THAT(tokenizer->encode(" Hello  world \uFB01\uFB01 \u00BD \U0001F999 \u65E5\u672C", {.add_bos = false}),
              ElementsAre(151, 88, 21, 887, 74, 270, 25, 4, 357, 0, 596, 4, 0, 4, 0));
}

// serving.md 8.7: columns gpt-2, llama-3, qwen2, llama-2.
TEST(TokenizerVectors, TableOfFourFamilies) {
  struct Row {
    std::string text{};
    std::vector<TokenId> gpt2{}, llama3{}, qwen2{}, llama2{};
  };
  const std::vector<Row> rows = {
      {"Hello world", {15496, 995}, {9906, 1917}, {9707, 1879}, {15043, 3186}},
      {" Hello", {18435}, {22691}, {21927}, {29871, 15043}},
      {"   Hello", {220, 220, 18435}, {256, 22691}, {256, 21927}, {1678, 15043}},
      {"Hello, world!", {15496, 11, 995, 0}, {9906, 11, 1917, 0}, {9707, 11, 1879, 0}, {15043, 29892, 3186, 29991}},
      {"\n\n\n", {628, 198}, {1432}, {1406}, {29871, 13, 13, 13}},
      {"\t\n", {197, 198}, {1602}, {1572}, {29871, 12, 13}},
      {"\n =", {198, 796}, {198, 284}, {198, 284}, {29871, 13, 353}},
      {"' era", {6, 6980}, {6, 11639}, {6, 11385}, {525, 3152}},
      {"3333", {24840}, {8765, 18}, {18, 18, 18, 18}, {29871, 29941, 29941, 29941, 29941}},
      {"ied 4 ½ months",
       {798, 604, 25208, 1933},
       {1142, 220, 19, 220, 27154, 4038},
       {1122, 220, 19, 220, 26062, 3951},
       {474, 287, 29871, 29946, 29871, 30226, 7378}},
      {" this is 🦙.cpp",
       {428, 318, 12520, 99, 247, 13, 20322},
       {420, 374, 11410, 99, 247, 13, 11055},
       {419, 374, 11162, 99, 247, 13, 10821},
       {29871, 445, 338, 29871, 243, 162, 169, 156, 29889, 8223}},
      {"Äpfel", {127, 226, 79, 69, 417}, {88075, 16276, 301}, {86975, 15897, 301}, {11585, 7810, 295}},
      {"Cửa Việt",
       {34, 157, 119, 255, 64, 16049, 157, 119, 229, 83},
       {34, 91163, 101798},
       {34, 90063, 128324},
       {315, 228, 190, 176, 29874, 10630, 30529, 29873}},
  };
  const std::pair<const char*, std::vector<TokenId> Row::*> columns[] = {{"gpt2", &Row::gpt2},
                                                                         {"llama-3", &Row::llama3},
                                                                         {"qwen2", &Row::qwen2},
                                                                         {"llama-2/tokenizer.json", &Row::llama2}};
  for (const auto& [file, column] : columns) {
    LOAD_OR_SKIP(tokenizer, file);
    for (const Row& row : rows) EXPECT_EQ(tokenizer->encode(row.text, {.add_bos = false}), row.*column) << row.text;
  }
}

TEST(TokenizerVectors, MistralRoundTrips) {
  for (const auto& [file, size] :
       {std::pair("mistral/tokenizer.model.v1", 32000), {"mistral/tokenizer.model.v3", 32768}}) {
    LOAD_OR_SKIP(tokenizer, file);
    EXPECT_EQ(tokenizer->size(), size);
    for (const Vector& vector : read_vectors("llama-spm")) {
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(vector.text)), vector.text);
    }
  }
}

TEST(TokenizerVectors, GptNeoxRoundTrips) {
  LOAD_OR_SKIP(tokenizer, "gpt-neox-20b/tokenizer.json");
  EXPECT_EQ(tokenizer->size(), 50277);
  EXPECT_THAT(tokenizer->encode("Hello world"), ElementsAre(12092, 1533));
  EXPECT_THAT(tokenizer->encode("a<|endoftext|>b    c"), ElementsAre(66, 0, 67, 50274, 68));
  for (const Vector& vector : read_vectors("gpt-2")) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(vector.text)), vector.text);
  }
}

TEST(TokenizerVectors, ReferenceOfBpeTrainingRoundTrips) {
  JERICHO_NEEDS_DATA("tokenizers/bpe-train-reference/corpus.en");
  const auto folder = test_data("tokenizers/bpe-train-reference");
  const auto vocab = read_text(folder / "train-bpe-reference-vocab.json");
  const auto merges = read_text(folder / "train-bpe-reference-merges.txt");
  const Tokenizer tokenizer(read_vocab_merges(vocab, merges, {}));
  EXPECT_EQ(tokenizer.size(), 500);
  EXPECT_EQ(tokenizer.find("<|endoftext|>"), 0);
  for (const char* file : {"corpus.en", "address.txt", "german.txt", "tinystories_sample.txt"}) {
    const std::string text = read_text(folder / file);
    const auto ids = tokenizer.encode(text, {.special = SpecialTokens::kAsText});
    EXPECT_EQ(tokenizer.decode(ids), text) << file;
    EXPECT_LT(ids.size(), text.size() * 7 / 10) << file;
  }
}

TEST(TokenizerVectors, SpecialTokensOfLlama3) {
  LOAD_OR_SKIP(tokenizer, "llama-3");
  const std::string text = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>";
  EXPECT_THAT(tokenizer->encode(text), ElementsAre(128000, 128006, 882, 128007, 271, 13347, 128009));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), "user\n\nHi");
  const auto as_text = tokenizer->encode(text, {.special = SpecialTokens::kAsText});
  EXPECT_EQ(tokenizer->decode(as_text), text);
  for (std::size_t i = 1; i < as_text.size(); ++i) EXPECT_LT(as_text[i], 128000);
  EXPECT_THAT(tokenizer->end_of_generation(), ElementsAre(128001, 128009));
  EXPECT_TRUE(tokenizer->adds_bos());
}

TEST(TokenizerVectors, BareTiktokenFileKnowsTheSpecialsOfLlama3) {
  JERICHO_NEEDS_DATA("tokenizers/llama-3/tokenizer.model");
  const auto with_config = load("llama-3");
  const auto bare = load("llama-3/tokenizer.model");
  ASSERT_EQ(bare->size(), 128256);
  for (TokenId id = 128000; id < 128256; ++id) EXPECT_EQ(bare->piece(id), with_config->piece(id));
}

TEST(TokenizerVectors, Phi3EndsAtItsTurnToken) {
  LOAD_OR_SKIP(tokenizer, "ggml-vocab/ggml-vocab-phi-3.gguf");
  EXPECT_THAT(tokenizer->end_of_generation(), ElementsAre(32000, 32007));
  EXPECT_EQ(tokenizer->bos(), 1);
}

TEST(TokenizerVectors, Qwen2HasNoBos) {
  LOAD_OR_SKIP(tokenizer, "qwen2");
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_THAT(tokenizer->encode("<|im_start|>"), ElementsAre(151644));
  EXPECT_THAT(tokenizer->end_of_generation(), ElementsAre(151643, 151645));
}

// Random bytes, and random code points of all planes, survive byte-level models; so does SentencePiece's byte fallback.
TEST(TokenizerVectors, RandomTextsRoundTrip) {
  JERICHO_NEEDS_DATA("tokenizers/gpt2/vocab.json");
  const std::unique_ptr<Tokenizer> tokenizers[] = {load("gpt2"), load("llama-3"), load("llama-2/tokenizer.json"),
                                                   load("ggml-vocab/ggml-vocab-llama-spm.gguf")};
  RandomText random(20240607);
  for (int i = 0; i < 10000; ++i) {
    const std::string text = i % 2 == 0 ? random.unicode(24) : random.bytes(24);
    std::string valid;
    append_as_utf8(text, valid);
    for (const auto& tokenizer : tokenizers) {
      const auto ids = tokenizer->encode(text, {.add_bos = false, .special = SpecialTokens::kAsText});
      std::string bytes;
      for (const TokenId id : ids) bytes += tokenizer->piece(id);
      if (tokenizer->strips_leading_space() && !bytes.empty()) bytes.erase(0, 1);
      ASSERT_EQ(bytes, text);
      ASSERT_EQ(tokenizer->decode(ids), valid);
    }
  }
}

TEST(TokenizerVectors, EncodesWikiTextInSeconds) {
  JERICHO_NEEDS_DATA("text/wikitext2-raw-test.txt");
  const std::string text = read_text(test_data("text/wikitext2-raw-test.txt"));
  for (const char* file : {"gpt2", "llama-3", "qwen2", "llama-2/tokenizer.model", "gpt-neox-20b/tokenizer.json"}) {
    LOAD_OR_SKIP(tokenizer, file);
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer->encode(text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 10.0) << file;  // generous: sanitizers and busy machines run this too
    EXPECT_LT(tokenizer->memory_bytes(), 20_MiB) << file;
    RecordProperty(file, fmt::format("{} tokens, {:.3f} s, {}", ids.size(), seconds.count(),
                                     format_bytes(tokenizer->memory_bytes())));
    if (std::getenv("JERICHO_VERBOSE") != nullptr) {
      fmt::print("{}: {} tokens, {:.3f} s, {}\n", file, ids.size(), seconds.count(),
                 format_bytes(tokenizer->memory_bytes()));
    }
    EXPECT_EQ(tokenizer->decode(ids), text) << file;
  }
}

}  // namespace
}  // namespace jericho
