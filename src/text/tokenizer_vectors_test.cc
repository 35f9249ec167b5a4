// Real vocabularies against published token ids: the tables of llama.cpp's models/ggml-vocab-*.gguf.inp and .out, and
// the first 100 KiB of TinyStories. All need the test data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_data.h"
#include "text/load_tokenizer.h"

namespace jericho {
namespace {

using testing::ElementsAre;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

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

}  // namespace
}  // namespace jericho
