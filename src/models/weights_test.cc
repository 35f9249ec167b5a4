// Where weights lie and how they get there: both formats of one model end up as the same bytes, and files that do not
// hold what the configuration asks for are refused by the tensor's name.
#include "models/weights.h"

#include <cstring>
#include <fstream>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/test_files.h"
#include "kernels/matmul_cases.h"
#include "memory/io.h"
#include "models/families.h"
#include "models/test_models.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(WeightLayout, PlacesEveryTensorOnACacheLineWithoutOverlap) {
  for (const ModelConfig& config : {small_config(), rich_config(), odd_config()}) {
    for (const DType dtype : kPackableTypes) {
      const WeightLayout layout = WeightLayout::of_shape(config, dtype);
      Bytes end{};
      for (const WeightPlacement& p : layout.placements()) {
        EXPECT_EQ(p.offset, end) << p.spec.name(ModelFormat::kGguf);
        EXPECT_EQ(p.offset.count % 64, 0) << p.spec.name(ModelFormat::kGguf);
        end = p.offset + p.size;
      }
      EXPECT_EQ(layout.bytes(), end);
    }
  }
}

TEST(WeightLayout, CountsTheBytesThatATokenReads) {
  ModelConfig config = small_config();
  const Bytes embedding = storage_bytes(DType::kF32, config.vocab_size * config.hidden_size);
  const WeightLayout tied = WeightLayout::of_shape(config, DType::kF32);
  EXPECT_EQ(tied.bytes_per_token(), tied.bytes());  // the embedding is the head
  config.tie_word_embeddings = false;
  const WeightLayout untied = WeightLayout::of_shape(config, DType::kF32);
  EXPECT_EQ(untied.bytes(), tied.bytes() + embedding);
  EXPECT_EQ(untied.bytes_per_token(), tied.bytes_per_token());
}

TEST(WeightLayout, KeepsRowsThatDoNotDivideIntoBlocksAsF16) {
  const WeightLayout layout = WeightLayout::of_shape(odd_config(), DType::kQ8_0);
  for (const WeightPlacement& p : layout.placements()) {
    const DType expected = !p.spec.is_matrix() ? DType::kF32 : p.spec.cols % 32 == 0 ? DType::kQ8_0 : DType::kF16;
    EXPECT_EQ(p.dtype, expected) << p.spec.name(ModelFormat::kGguf);
  }
  EXPECT_TRUE(layout.forms().f32);
}

TEST(ModelWeights, DrawsTheSameFromTheSameSeedOnAnyThreads) {
  const WeightLayout layout = WeightLayout::of_shape(small_config(), DType::kQ4_K);
  const auto draw = [&](int threads, std::uint64_t seed) {
    const TestMachine machine(threads);
    Arena arena(machine.context.ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
    const std::span<const std::byte> bytes = arena.bytes();
    const ModelWeights weights = ModelWeights::random(machine.context, small_config(), layout, std::move(arena), seed);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  EXPECT_TRUE(draw(1, 5) == draw(3, 5));
  EXPECT_FALSE(draw(1, 5) == draw(1, 6));
}

// A model in a file, each format with its own names and its own order of the rows of q and k.
class FileOfWeights : public testing::Test {
 protected:
  FileOfWeights() : config_(rich_config()) {
    config_.num_hidden_layers = 2;
    config_.layers.assign(2, {});
    config_.rope_divisors_in_file = false;
  }

  // The bytes of a tensor in Hugging Face order, the same in every call.
  static std::vector<std::byte> content(const WeightSpec& spec, DType dtype) {
    std::mt19937 random(static_cast<unsigned>(std::hash<std::string>{}(spec.name(ModelFormat::kHuggingFace))));
    std::vector<std::byte> rows((storage_bytes(dtype, spec.cols) * spec.rows).size());
    for (Index r = 0; r < spec.rows; ++r) {
      fill_file_row(dtype, spec.cols, random, Scales::kPlain, rows.data() + r * storage_bytes(dtype, spec.cols).count);
    }
    return rows;
  }

  // Row i + j D/2 of a head goes to row 2 i + j.
  static std::vector<std::byte> in_pairs(const std::vector<std::byte>& rows, Index head_dim, Bytes row) {
    std::vector<std::byte> paired(rows.size());
    const auto count = static_cast<Index>(rows.size()) / row.count;
    for (Index r = 0; r < count; ++r) {
      const Index in_head = r % head_dim;
      const Index to = r - in_head + 2 * (in_head % (head_dim / 2)) + in_head / (head_dim / 2);
      std::memcpy(paired.data() + to * row.count, rows.data() + r * row.count, row.size());
    }
    return paired;
  }

  static std::vector<Index> shape(const WeightSpec& spec) {
    return spec.is_matrix() ? std::vector<Index>{spec.rows, spec.cols} : std::vector<Index>{spec.cols};
  }

  template <class Writer>
  std::filesystem::path write(Writer writer, ModelFormat format, DType matrices, const std::string& skip = "",
                              bool paired = false) {
    DecoderWeights unused;
    const auto each = [&](const auto& visit) {
      visit_weights(config_, unused, [&](const WeightSpec& spec, const WeightView&) {
        if (spec.name(format) != skip) visit(spec, spec.is_matrix() ? matrices : DType::kF32);
      });
    };
    each([&](const WeightSpec& spec, DType dtype) { writer.add_tensor(spec.name(format), dtype, shape(spec)); });
    const auto path = directory_.path() / (format == ModelFormat::kGguf ? "model.gguf" : "model.safetensors");
    std::ofstream out(path, std::ios::binary);
    writer.begin(out);
    each([&](const WeightSpec& spec, DType dtype) {
      std::vector<std::byte> bytes = content(spec, dtype);
      const std::string& name = spec.name(ModelFormat::kGguf);
      const bool rotated = name.find("attn_q.") != std::string::npos || name.find("attn_k.") != std::string::npos;
      if (paired && rotated) {
        bytes = in_pairs(bytes, config_.head_dim, spec.is_matrix() ? storage_bytes(dtype, spec.cols) : 4_B);
      }
      writer.append(bytes);
    });
    return path;
  }

  std::filesystem::path write_gguf(DType matrices, const std::string& skip = "", bool paired = false) {
    GgufWriter writer;
    writer.set("general.architecture", "llama");
    return write(writer, ModelFormat::kGguf, matrices, skip, paired);
  }

  std::filesystem::path write_directory(DType matrices, const std::string& skip = "") {
    directory_.put("config.json", "{}");
    static_cast<void>(write(SafetensorsWriter(), ModelFormat::kHuggingFace, matrices, skip));
    return directory_.path();
  }

  std::vector<std::byte> load(const std::filesystem::path& path, int threads) {
    const TestMachine machine(threads);
    const auto file = open_model(path);
    const WeightLayout layout = WeightLayout::of_file(config_, *file);
    Ledger& ledger = machine.context.ledger;
    Arena arena(ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
    const std::span<const std::byte> bytes = arena.bytes();
    const Arena staging(ledger.require(Tier::kRam, Purpose::kWeightsStaging,
                                       arena_bytes(ModelWeights::staging_bytes(layout, threads))));
    const auto io = make_io_backend();
    Bytes last{};
    const ModelWeights weights = ModelWeights::load(machine.context, config_, layout, *file, std::move(arena), *io,
                                                    staging.bytes(), {}, [&](Bytes done, Bytes total) {
                                                      EXPECT_GT(done, last);
                                                      EXPECT_EQ(total, layout.file_bytes());
                                                      last = done;
                                                    });
    EXPECT_EQ(last, layout.file_bytes());
    return {bytes.begin(), bytes.end()};
  }

  std::string refusal(const std::filesystem::path& path) {
    return error_of([&] { return WeightLayout::of_file(config_, *open_model(path)); });
  }

  ModelConfig config_;
  TestDirectory directory_;
};

TEST_F(FileOfWeights, BecomesTheSameBytesFromBothFormats) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    config_.interleaved_qk_rows = false;
    const auto from_directory = load(write_directory(dtype), 1);
    EXPECT_TRUE(load(write_gguf(dtype), 2) == from_directory) << name(dtype);
    config_.interleaved_qk_rows = true;
    EXPECT_TRUE(load(write_gguf(dtype, "", true), 3) == from_directory) << name(dtype) << " in rotation pairs";
  }
}

TEST_F(FileOfWeights, UntanglesTheRotationPairsOfBlockFormats) {
  const auto plain = load(write_gguf(DType::kQ6_K), 2);
  config_.interleaved_qk_rows = true;
  EXPECT_TRUE(load(write_gguf(DType::kQ6_K, "", true), 2) == plain);
}

// Older GGUF files of DeepSeek keep kv_b whole, in any type.
TEST(ModelWeights, TurnsTheBlocksOfAGgufAsValues) {
  ModelConfig config = latent_config();
  config.gguf_names.k_b = config.gguf_names.v_b = "";
  std::map<std::string, TensorInfo> tensors;
  DecoderWeights unused;
  visit_weights(config, unused, [&](const WeightSpec& spec, const WeightView&) {
    const TensorPart& part = spec.gguf.parts.front();
    const Index cols = spec.gguf.transposed ? spec.rows : spec.cols;
    const bool whole = part.tensor_rows == 0;
    TensorInfo tensor{.name = part.name, .dtype = spec.is_matrix() ? DType::kQ8_0 : DType::kF32};
    tensor.shape =
        spec.is_matrix() ? std::vector<Index>{whole ? spec.rows : part.tensor_rows, cols} : std::vector<Index>{cols};
    tensors[part.name] = tensor;
  });
  std::map<std::string, std::vector<std::byte>> content;
  GgufWriter writer;
  writer.set("general.architecture", "deepseek2");
  std::mt19937 random(4);
  for (const auto& [name, tensor] : tensors) {
    writer.add_tensor(name, tensor.dtype, tensor.shape);
    const Index cols = tensor.shape.back(), rows = tensor.elements() / cols;
    const Bytes row = storage_bytes(tensor.dtype, cols);
    content[name].resize((row * rows).size());
    for (Index r = 0; r < rows; ++r) {
      fill_file_row(tensor.dtype, cols, random, Scales::kPlain, content[name].data() + r * row.count);
    }
  }
  const TestDirectory directory;
  const auto path = directory.path() / "model.gguf";
  {
    std::ofstream out(path, std::ios::binary);
    writer.begin(out);
    for (const auto& [name, tensor] : tensors) writer.append(content[name]);
  }
  const TestMachine machine(2);
  const auto file = open_model(path);
  const WeightLayout layout = WeightLayout::of_file(config, *file);
  Ledger& ledger = machine.context.ledger;
  Arena arena(ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
  const Arena staging(
      ledger.require(Tier::kRam, Purpose::kWeightsStaging, arena_bytes(ModelWeights::staging_bytes(layout, 2))));
  const auto io = make_io_backend();
  const ModelWeights weights =
      ModelWeights::load(machine.context, config, layout, *file, std::move(arena), *io, staging.bytes(), {}, {});
  const LatentConfig& m = config.latent;
  const std::vector<std::byte>& stored = content["blk.1.attn_kv_b.weight"];
  const Bytes stored_row = storage_bytes(DType::kQ8_0, m.kv_lora_rank);
  std::vector<float> in_file(static_cast<std::size_t>(m.kv_lora_rank)), row(static_cast<std::size_t>(m.nope_dim));
  for (Index h = 0; h < config.num_attention_heads; ++h) {
    const PackedMatrix& k_b = weights.views().layers[1].latent.k_b[static_cast<std::size_t>(h)];
    EXPECT_EQ(k_b.dtype, DType::kF32);
    for (Index d = 0; d < m.nope_dim; ++d) {
      const Index at = h * (m.nope_dim + m.value_dim) + d;
      dequantize_file_row(DType::kQ8_0, m.kv_lora_rank, stored.data() + at * stored_row.count, in_file.data());
      for (Index r = 0; r < m.kv_lora_rank; ++r) {
        dequantize_row(k_b, r, row.data());
        ASSERT_EQ(row[static_cast<std::size_t>(d)], in_file[static_cast<std::size_t>(r)]) << h << " " << d << " " << r;
      }
    }
  }
}

TEST_F(FileOfWeights, NamesTheTensorThatIsMissing) {
  EXPECT_THAT(refusal(write_gguf(DType::kF16, "blk.1.ffn_up.weight")),
              AllOf(HasSubstr("input: "), HasSubstr("model.gguf"), HasSubstr("'blk.1.ffn_up.weight' is missing")));
  EXPECT_THAT(refusal(write_directory(DType::kF16, "model.layers.0.self_attn.q_norm.weight")),
              AllOf(HasSubstr("input: "), HasSubstr("'model.layers.0.self_attn.q_norm.weight' is missing")));
}

TEST_F(FileOfWeights, NamesTheTensorOfAnotherShape) {
  const auto path = write_gguf(DType::kF16);
  config_.intermediate_size = 512;
  EXPECT_THAT(refusal(path), AllOf(HasSubstr("input: "), HasSubstr("'blk.0.ffn_gate.weight' has shape [768, 256]"),
                                   HasSubstr("[512, 256]")));
}

TEST_F(FileOfWeights, NamesTheTensorOfATypeItCannotUse) {
  EXPECT_THAT(refusal(write_gguf(DType::kF64)),
              AllOf(HasSubstr("unsupported: "), HasSubstr("token_embd.weight"), HasSubstr("F64")));
}

TEST_F(FileOfWeights, StopsOnRequest) {
  const auto path = write_gguf(DType::kF16);
  const TestMachine machine(1);
  const auto file = open_model(path);
  const WeightLayout layout = WeightLayout::of_file(config_, *file);
  Ledger& ledger = machine.context.ledger;
  Arena arena(ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
  const Arena staging(
      ledger.require(Tier::kRam, Purpose::kWeightsStaging, arena_bytes(ModelWeights::staging_bytes(layout, 1))));
  const auto io = make_io_backend();
  std::stop_source source;
  Bytes read{};
  try {
    const ModelWeights weights =
        ModelWeights::load(machine.context, config_, layout, *file, std::move(arena), *io, staging.bytes(),
                           source.get_token(), [&](Bytes done, Bytes) { read = done, source.request_stop(); });
    FAIL() << "loaded to the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_GT(read, Bytes{});
  EXPECT_LT(read, layout.file_bytes());
}

}  // namespace
}  // namespace jericho
