// Writes a GGUF with random weights and a small vocabulary of its own, for tests that need a whole file of some size.
//   make_model OUT TYPE KEY=VALUE...     hidden, ff, layers, heads, kv_heads, head_dim, vocab, context, seed; chat=1:
//                                        with a chat template; experts, used: a mixture, of which so many meet a token
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "formats/gguf_writer.h"
#include "kernels/matmul_cases.h"
#include "models/weights.h"

namespace jericho {
namespace {

using Sizes = std::map<std::string, Index>;

// A SentencePiece vocabulary: three special pieces, all bytes, letters, a few words, then words by number.
void set_vocabulary(GgufWriter& writer, Index size) {
  enum Kind : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> kinds = {kUnknown, kControl, kControl};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte)), kinds.push_back(kByte);
  const std::string space = "\xE2\x96\x81";  // U+2581
  for (char letter = 'a'; letter <= 'z'; ++letter) tokens.emplace_back(1, letter);
  for (const char* word : {"", "t", "a", "th", "the", "on", "once", "cat", "sat"}) tokens.push_back(space + word);
  for (Index n = 0; static_cast<Index>(tokens.size()) < size; ++n) tokens.push_back(fmt::format("{}w{}", space, n));
  tokens.resize(static_cast<std::size_t>(size));
  kinds.resize(tokens.size(), kNormal);
  std::vector<float> scores;
  for (std::size_t i = 0; i < tokens.size(); ++i) scores.push_back(-static_cast<float>(i));
  writer.set("tokenizer.ggml.model", std::string("llama"));
  writer.set("tokenizer.ggml.tokens", tokens);
  writer.set("tokenizer.ggml.scores", scores);
  writer.set("tokenizer.ggml.token_type", kinds);
  writer.set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  writer.set("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  writer.set("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
}

void make(const std::string& path, DType dtype, const Sizes& sizes) {
  ModelConfig c;
  c.hidden_size = sizes.at("hidden");
  c.intermediate_size = sizes.at("ff");
  c.num_hidden_layers = sizes.at("layers");
  c.layers.assign(static_cast<std::size_t>(c.num_hidden_layers), {});
  c.num_attention_heads = sizes.at("heads");
  c.num_key_value_heads = sizes.at("kv_heads");
  c.head_dim = sizes.at("head_dim");
  c.vocab_size = sizes.at("vocab");
  c.tie_word_embeddings = true;
  if (sizes.at("experts") > 0) {
    c.moe.experts = sizes.at("experts");
    c.moe.experts_per_token = sizes.at("used");
    c.moe.intermediate_size = c.intermediate_size;
    for (LayerConfig& layer : c.layers) layer.feed_forward = FeedForward::kExperts;
  }
  GgufWriter writer;
  const auto set = [&](const char* key, Index value) {
    writer.set(std::string("llama.") + key, static_cast<std::uint32_t>(value));
  };
  writer.set("general.architecture", std::string("llama"));
  set("context_length", sizes.at("context"));
  set("embedding_length", c.hidden_size);
  set("feed_forward_length", c.intermediate_size);
  set("block_count", c.num_hidden_layers);
  set("attention.head_count", c.num_attention_heads);
  set("attention.head_count_kv", c.num_key_value_heads);
  set("attention.key_length", c.head_dim);
  set("attention.value_length", c.head_dim);
  if (c.moe.experts > 0) {
    set("expert_count", c.moe.experts);
    set("expert_used_count", c.moe.experts_per_token);
  }
  set_vocabulary(writer, c.vocab_size);

  if (sizes.at("chat") != 0) {
    writer.set("tokenizer.chat_template",
               std::string("{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }}\n"
                           "{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"));
  }

  const WeightLayout layout = WeightLayout::of_shape(c, dtype);
  std::vector<const WeightPlacement*> stored;  // the first of each stack
  for (const WeightPlacement& p : layout.placements()) {
    const std::string& name = p.spec.name(ModelFormat::kGguf);
    const Index many = p.spec.gguf.parts.front().tensor_rows;
    if (p.spec.use.expert > 0) continue;
    stored.push_back(&p);
    const std::vector<Index> matrix = {many > 0 ? many : p.spec.rows, p.spec.cols};
    writer.add_tensor(name, p.dtype, p.spec.is_matrix() ? matrix : std::vector<Index>{p.spec.cols});
  }
  std::ofstream out(path, std::ios::binary);
  writer.begin(out);
  std::mt19937 random(static_cast<unsigned>(sizes.at("seed")));
  for (const WeightPlacement* placement : stored) {
    const WeightPlacement& p = *placement;
    if (!p.spec.is_matrix()) {
      const std::vector<float> ones(static_cast<std::size_t>(p.spec.cols), 1.0f);
      writer.append(std::as_bytes(std::span(ones)));
      continue;
    }
    std::vector<std::byte> row(storage_bytes(p.dtype, p.spec.cols).size());
    const Index rows = std::max(p.spec.rows, p.spec.gguf.parts.front().tensor_rows);
    for (Index r = 0; r < rows; ++r) {
      fill_file_row(p.dtype, p.spec.cols, random, Scales::kPlain, row.data());
      writer.append(row);
    }
  }
  JERICHO_CHECK(writer.complete(), "{}", path);
}

int run(const std::vector<std::string>& words) {
  Sizes sizes = {{"hidden", 64}, {"ff", 128},      {"layers", 2}, {"heads", 4}, {"kv_heads", 2}, {"head_dim", 16},
                 {"vocab", 320}, {"context", 512}, {"seed", 1},   {"chat", 0},  {"experts", 0},  {"used", 2}};
  const auto dtype = words.size() < 2 ? std::nullopt : dtype_from_name(words[1]);
  if (!dtype) throw Error(ErrorKind::kUsage, "make_model OUT TYPE [KEY=VALUE...]");
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto equals = words[i].find('=');
    const auto size = sizes.find(words[i].substr(0, equals));
    if (equals == std::string::npos || size == sizes.end()) throw Error(ErrorKind::kUsage, words[i] + ": no such size");
    std::from_chars(words[i].data() + equals + 1, words[i].data() + words[i].size(), size->second);
  }
  make(words[0], *dtype, sizes);
  return 0;
}

}  // namespace
}  // namespace jericho

int main(int argc, char** argv) {
  try {
    return jericho::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
