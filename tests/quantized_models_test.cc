// Whole models from quantized Hugging Face checkpoints: for every method the logits of a tiny Llama are those of the
// same model with its dequantized values in F32, within what rounding activations to 8 bits costs, or to the last
// digits where the weights multiply in fp32.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/quantized/test_checkpoints.h"
#include "kernels/bit_equal.h"
#include "memory/temp_folder.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

constexpr Index kHidden = 256, kFeedForward = 512, kKvSize = 64, kVocab = 320, kLayers = 2;
constexpr float kSize = 0.06f;  // of weights: activations then stay near 1

std::string config_text(const std::string& quantization) {
  return fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "hidden_size": {}, "intermediate_size": {},
                         "num_hidden_layers": {}, "num_attention_heads": 8, "num_key_value_heads": 2,
                         "vocab_size": {}, "max_position_embeddings": 512, "rms_norm_eps": 1e-5{}}})",
                     kHidden, kFeedForward, kLayers, kVocab,
                     quantization.empty() ? "" : ", \"quantization_config\": {" + quantization + "}");
}

std::vector<float> uniform(Index count, unsigned seed, float size) {
  std::mt19937 random(seed);
  std::vector<float> values;
  for (Index i = 0; i < count; ++i) values.push_back(size * (static_cast<float>(random() % 2001) / 1000.0f - 1.0f));
  return values;
}

// Adds one linear as a method stores it and returns the values it has.
using PutLinear =
    std::function<std::vector<float>(Checkpoint&, const std::string& module, Index rows, Index cols, unsigned seed)>;

struct Pair {
  Checkpoint stored;
  Checkpoint floats;
};

// Fills both of a pair alike, but for linears.
class PairMaker {
 public:
  PairMaker(const std::string& stored_config, const std::string& float_config, PutLinear put) : put_(std::move(put)) {
    pair_.stored.config = stored_config;
    pair_.floats.config = float_config;
  }
  void linear(const std::string& module, Index rows, Index cols) {
    pair_.floats.put_f32(module + ".weight", {rows, cols}, put_(pair_.stored, module, rows, cols, ++seed_));
  }
  void plain(const std::string& name, const std::vector<Index>& shape, const std::vector<float>& values) {
    pair_.stored.put_f32(name, shape, values);
    pair_.floats.put_f32(name, shape, values);
  }
  void norm(const std::string& name, Index size) {
    plain(name + ".weight", {size}, std::vector<float>(static_cast<std::size_t>(size), 1.0f));
  }
  void feed_forward(const std::string& prefix, Index size) {
    linear(prefix + "gate_proj", size, kHidden);
    linear(prefix + "up_proj", size, kHidden);
    linear(prefix + "down_proj", kHidden, size);
  }
  // What surrounds the layers.
  Pair finish() {
    plain("model.embed_tokens.weight", {kVocab, kHidden}, uniform(kVocab * kHidden, 100, 1.0f));
    norm("model.norm", kHidden);
    linear("lm_head", kVocab, kHidden);
    return std::move(pair_);
  }

 private:
  PutLinear put_;
  Pair pair_;
  unsigned seed_ = 1;
};

Pair make_pair(const std::string& quantization, const PutLinear& put) {
  PairMaker pair(config_text(quantization), config_text(""), put);
  for (Index n = 0; n < kLayers; ++n) {
    const std::string layer = fmt::format("model.layers.{}.", n);
    pair.norm(layer + "input_layernorm", kHidden);
    pair.norm(layer + "post_attention_layernorm", kHidden);
    pair.linear(layer + "self_attn.q_proj", kHidden, kHidden);
    pair.linear(layer + "self_attn.k_proj", kKvSize, kHidden);
    pair.linear(layer + "self_attn.v_proj", kKvSize, kHidden);
    pair.linear(layer + "self_attn.o_proj", kHidden, kHidden);
    pair.feed_forward(layer + "mlp.", kFeedForward);
  }
  return pair.finish();
}

// Phi-3: q, k and v in one tensor, gate and up in another.
Pair make_fused_pair(const std::string& quantization, const PutLinear& put) {
  const auto config = [](std::string text) {
    return text.replace(text.find("LlamaForCausalLM"), 16, "Phi3ForCausalLM");
  };
  PairMaker pair(config(config_text(quantization)), config(config_text("")), put);
  for (Index n = 0; n < kLayers; ++n) {
    const std::string layer = fmt::format("model.layers.{}.", n);
    pair.norm(layer + "input_layernorm", kHidden);
    pair.norm(layer + "post_attention_layernorm", kHidden);
    pair.linear(layer + "self_attn.qkv_proj", kHidden + 2 * kKvSize, kHidden);
    pair.linear(layer + "self_attn.o_proj", kHidden, kHidden);
    pair.linear(layer + "mlp.gate_up_proj", 2 * kFeedForward, kHidden);
    pair.linear(layer + "mlp.down_proj", kHidden, kFeedForward);
  }
  return pair.finish();
}

// DeepSeek-V2: layer 0 dense, layer 1 of experts unless `dense_layers` is 2.
constexpr Index kHeads = 4, kRank = 128, kNope = 64, kRotated = 32, kValue = 64, kExpert = 128, kExperts = 4;

Pair make_latent_pair(const std::string& quantization, Index dense_layers, const PutLinear& put) {
  const auto config = [&](const std::string& more) {
    return fmt::format(R"({{"architectures": ["DeepseekV2ForCausalLM"], "hidden_size": {}, "intermediate_size": {},
                           "num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {},
                           "vocab_size": {}, "max_position_embeddings": 512, "kv_lora_rank": {},
                           "qk_nope_head_dim": {}, "qk_rope_head_dim": {}, "v_head_dim": {},
                           "first_k_dense_replace": {}, "moe_intermediate_size": {}, "n_routed_experts": {},
                           "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
                           "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": true,
                           "routed_scaling_factor": 1.0{}}})",
                       kHidden, kFeedForward, kLayers, kHeads, kHeads, kVocab, kRank, kNope, kRotated, kValue,
                       dense_layers, kExpert, kExperts, more);
  };
  PairMaker pair(config(", \"quantization_config\": {" + quantization + "}"), config(""), put);
  for (Index n = 0; n < kLayers; ++n) {
    const std::string layer = fmt::format("model.layers.{}.", n);
    pair.norm(layer + "input_layernorm", kHidden);
    pair.norm(layer + "post_attention_layernorm", kHidden);
    pair.linear(layer + "self_attn.q_proj", kHeads * (kNope + kRotated), kHidden);
    pair.linear(layer + "self_attn.kv_a_proj_with_mqa", kRank + kRotated, kHidden);
    pair.norm(layer + "self_attn.kv_a_layernorm", kRank);
    pair.linear(layer + "self_attn.kv_b_proj", kHeads * (kNope + kValue), kRank);
    pair.linear(layer + "self_attn.o_proj", kHidden, kHeads * kValue);
    if (n < dense_layers) {
      pair.feed_forward(layer + "mlp.", kFeedForward);
      continue;
    }
    pair.plain(layer + "mlp.gate.weight", {kExperts, kHidden}, uniform(kExperts * kHidden, 200, 0.2f));
    for (Index e = 0; e < kExperts; ++e) pair.feed_forward(fmt::format("{}mlp.experts.{}.", layer, e), kExpert);
    pair.feed_forward(layer + "mlp.shared_experts.", kExpert);
  }
  return pair.finish();
}

// With KV pages in F32: f16 would now and then make 2^-11 of a last digit.
std::vector<float> logits_of_checkpoint(const Checkpoint& checkpoint, int threads = 2, Index chunk = 40) {
  const TestMachine machine(threads);
  const TempFolder folder;
  checkpoint.save(folder.path());
  const WholeModel model = WholeModel::load(machine.context, folder.path());
  Session session(machine.context, *model.model,
                  model.plan(machine.context, {.context = 64, .kv_type = KvType::kF32, .all_logits = true}),
                  KvBacking::kPopulate);
  std::vector<TokenId> prompt;
  for (TokenId t = 0; t < 40; ++t) prompt.push_back(t * 7 % static_cast<TokenId>(kVocab));
  std::vector<float> all;
  const SequenceId sequence = session.open();
  for (std::size_t begin = 0; begin < prompt.size(); begin += static_cast<std::size_t>(chunk)) {
    const auto piece =
        std::span(prompt).subspan(begin).first(std::min(static_cast<std::size_t>(chunk), prompt.size() - begin));
    const std::vector<float> some = logits_of(session, sequence, piece);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// Root of the mean square difference, relative to that of `expected`.
double difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double error = 0, total = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
    total += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / total);
}

// A rounded activation is off by 1 / sqrt(12) of a step of absmax / 127 on average. Of 32 normal values the largest is
// about 2.2 times their root mean square: 0.5 % relative error; of 32 outputs of SwiGLU, products of two, about 5
// times: 1.1 %. Random weights hand relative errors on, and independent ones add up as squares: six products and
// down_proj in each of two layers and a head are sqrt(2 (6 * 0.5^2 + 1.1^2) + 0.5^2) = 2.4 %. The control below shows
// that 3 % is not too wide.
constexpr double kActivationRounding = 0.03;
// With one scale per token the largest is that of 256 values, about 2.9 times, or of 512 outputs of SwiGLU, about 8
// times:
// sqrt(2 (6 * 0.66^2 + 1.8^2) + 0.66^2) = 3.5 %.
constexpr double kTokenRounding = 0.04;
constexpr double kFp32Order = 2e-5;

void expect_same_model(const Pair& pair, double bound) {
  const std::vector<float> logits = logits_of_checkpoint(pair.stored);
  const std::vector<float> expected = logits_of_checkpoint(pair.floats);
  const double error = difference(logits, expected);
  testing::Test::RecordProperty("error", fmt::format("{:.3e}", error));
  EXPECT_LE(error, bound);
  EXPECT_GT(error, 0) << "the same model twice shows nothing";
  EXPECT_THAT(logits_of_checkpoint(pair.stored, 1), BitEqual(logits)) << "one thread";
  EXPECT_THAT(logits_of_checkpoint(pair.stored, 2, 7), BitEqual(logits)) << "chunks of 7";
}

void expect_same_model(const std::string& quantization, const PutLinear& put, double bound) {
  expect_same_model(make_pair(quantization, put), bound);
}

TEST(QuantizedModels, Gptq) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const Grid grid = random_grid(rows, cols, 128, 4, DType::kF16, Zeros::kMiddle, seed, kSize);
    put_gptq(out, module, grid, GptqZeros::kMinusOne);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "lm_head": true)", put,
                    kActivationRounding);
}

TEST(QuantizedModels, GptqByActivationWithAnOrderPerMatrixAndSomeWithout) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 64, 4, DType::kF16, Zeros::kAny, seed, kSize);
    for (int& zero : grid.zeros) zero = 6 + zero % 4;
    shuffle_groups(grid, seed);
    if (module.ends_with("k_proj")) {
      out.put_f32(module + ".weight", {rows, cols}, grid.values());
    } else {
      put_gptq(out, module, grid, GptqZeros::kMinusOne);
    }
    return grid.values();
  };
  expect_same_model(R"("quant_method": "gptq", "bits": 4, "group_size": 64, "sym": false, "desc_act": true)", put,
                    kActivationRounding);
}

TEST(QuantizedModels, CompressedTensorsByActivation) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 64, 4, DType::kBF16, Zeros::kMiddle, seed, kSize);
    if (module.ends_with("down_proj")) shuffle_groups(grid, seed);
    put_packed(out, module, grid, Zeros::kMiddle);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
                       "group_0": {"weights": {"num_bits": 4, "actorder": "group"}}})",
                    put, kActivationRounding);
}

TEST(QuantizedModels, GptqOfThreeBitsWithZeroPoints) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 64, 3, DType::kBF16, Zeros::kAny, seed, kSize);
    for (int& zero : grid.zeros) zero = 3 + zero % 2;
    put_gptq(out, module, grid, GptqZeros::kTrue);
    return grid.values();
  };
  expect_same_model(
      R"("quant_method": "gptq", "bits": 3, "group_size": 64, "sym": false, "checkpoint_format": "gptq_v2")", put,
      kActivationRounding);
}

TEST(QuantizedModels, AwqWithSomeModulesLeftInFloat) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 64, 4, DType::kF16, Zeros::kAny, seed, kSize);
    for (int& zero : grid.zeros) zero = 6 + zero % 4;
    if (module == "lm_head" || module.ends_with("down_proj")) {
      out.put_f32(module + ".weight", {rows, cols}, grid.values());
    } else {
      put_awq(out, module, grid);
    }
    return grid.values();
  };
  expect_same_model(R"("quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm")", put,
                    kActivationRounding);
}

TEST(QuantizedModels, CompressedTensorsOfTwoWidths) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const bool wide = module.ends_with("o_proj");
    const Grid grid =
        random_grid(rows, cols, wide ? cols : 32, wide ? 8 : 4, DType::kBF16, Zeros::kMiddle, seed, kSize);
    put_packed(out, module, grid, Zeros::kMiddle);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
                       "group_0": {"weights": {"num_bits": 4}}, "group_1": {"weights": {"num_bits": 8}}})",
                    put, kActivationRounding);
}

TEST(QuantizedModels, CompressedTensorsOfBytes) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const Grid grid = random_grid(rows, cols, cols, 8, DType::kF32, Zeros::kMiddle, seed, kSize);
    put_bytes(out, module, grid, Zeros::kMiddle);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {
                       "group_0": {"weights": {"num_bits": 8, "strategy": "channel"}}})",
                    put, kActivationRounding);
}

TEST(QuantizedModels, CompressedTensorsOfBytesWithActivationsPerToken) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const Grid grid = random_grid(rows, cols, cols, 8, DType::kBF16, Zeros::kMiddle, seed, kSize);
    put_bytes(out, module, grid, Zeros::kMiddle);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {
                       "group_0": {"weights": {"num_bits": 8, "strategy": "channel"},
                                   "input_activations": {"num_bits": 8, "strategy": "token", "dynamic": true}}})",
                    put, kTokenRounding);
}

TEST(QuantizedModels, GptqInGroupsOf128ByActivation) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 128, 4, DType::kF16, Zeros::kAny, seed, kSize);
    for (int& zero : grid.zeros) zero = 6 + zero % 4;
    if (module.ends_with("_proj")) shuffle_groups(grid, seed);
    put_gptq(out, module, grid, GptqZeros::kMinusOne);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "gptq", "bits": 4, "group_size": 128, "sym": false, "desc_act": true)", put,
                    kActivationRounding);
}

TEST(QuantizedModels, BitsandbytesNf4) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const Nf4Grid grid = random_nf4(rows, cols, Nested::kYes, seed, kSize);
    put_nf4(out, module + ".weight", grid);
    return grid.values();
  };
  expect_same_model(R"("quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4")", put,
                    kFp32Order);
}

TEST(QuantizedModels, Fp8InBlocks) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    const Float8Grid grid = random_float8(rows, cols, 128, 128, seed, kSize / 2);
    put_float8(out, module, grid, ".weight_scale_inv", {grid.scale_rows(), grid.scale_cols()});
    return grid.values();
  };
  expect_same_model(R"("quant_method": "fp8", "weight_block_size": [128, 128])", put, kFp32Order);
}

std::vector<float> put_fp8(Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
  const Float8Grid grid = random_float8(rows, cols, 128, 128, seed, kSize / 2);
  put_float8(out, module, grid, ".weight_scale_inv", {grid.scale_rows(), grid.scale_cols()});
  return grid.values();
}

std::vector<float> put_gptq_by_activation(Checkpoint& out, const std::string& module, Index rows, Index cols,
                                          unsigned seed) {
  Grid grid = random_grid(rows, cols, 64, 4, DType::kF16, Zeros::kMiddle, seed, kSize);
  shuffle_groups(grid, seed);
  put_gptq(out, module, grid, GptqZeros::kMinusOne);
  return grid.values();
}

constexpr const char* kFp8 = R"("quant_method": "fp8", "weight_block_size": [128, 128])";
constexpr const char* kGptqByActivation =
    R"("quant_method": "gptq", "bits": 4, "group_size": 64, "sym": true, "desc_act": true)";

TEST(QuantizedModels, LatentAttentionInFp8Blocks) { expect_same_model(make_latent_pair(kFp8, 1, put_fp8), kFp32Order); }

TEST(QuantizedModels, LatentAttentionInGptqByActivation) {
  expect_same_model(make_latent_pair(kGptqByActivation, kLayers, put_gptq_by_activation), kActivationRounding);
}

TEST(QuantizedModels, KeepTheValuesOfBlocksThatAreTransposedAsF32) {
  const TestMachine machine;
  for (const bool fp8 : {true, false}) {
    const Pair pair =
        fp8 ? make_latent_pair(kFp8, 1, put_fp8) : make_latent_pair(kGptqByActivation, kLayers, put_gptq_by_activation);
    const TempFolder folder;
    pair.stored.save(folder.path());
    const WholeModel model = WholeModel::load(machine.context, folder.path());
    const auto& stored = pair.floats.tensors.at("model.layers.1.self_attn.kv_b_proj.weight").bytes;
    const auto* values = reinterpret_cast<const float*>(stored.data());  // [heads (nope + value), rank]
    for (Index h = 0; h < kHeads; ++h) {
      const PackedMatrix& k_b = model.model->weights().views().layers[1].latent.k_b[static_cast<std::size_t>(h)];
      EXPECT_EQ(k_b.dtype, DType::kF32);
      std::vector<float> row(static_cast<std::size_t>(kNope));
      for (Index r = 0; r < kRank; ++r) {
        dequantize_row(k_b, r, row.data());
        for (Index d = 0; d < kNope; ++d) {
          ASSERT_EQ(row[static_cast<std::size_t>(d)], values[(h * (kNope + kValue) + d) * kRank + r])
              << "head " << h << " row " << r << " column " << d;
        }
      }
      const DType v_b = model.model->weights().views().layers[1].latent.v_b[static_cast<std::size_t>(h)].dtype;
      EXPECT_EQ(v_b, fp8 ? DType::kFP8 : DType::kQ4_0);
    }
  }
}

TEST(QuantizedModels, FusedProjectionsInGptqByActivation) {
  expect_same_model(make_fused_pair(kGptqByActivation, put_gptq_by_activation), kActivationRounding);
}

TEST(QuantizedModels, CountAndReadEveryStoredByteOnce) {
  const TestMachine machine;
  for (const Pair& pair :
       {make_fused_pair(kGptqByActivation, put_gptq_by_activation), make_latent_pair(kFp8, 1, put_fp8)}) {
    const TempFolder folder;
    pair.stored.save(folder.path());
    Bytes stored{};
    for (const auto& [name, tensor] : pair.stored.tensors) stored += Bytes{std::ssize(tensor.bytes)};
    const auto file = open_model(folder.path());
    const ModelConfig config = read_config(*file);
    const WeightLayout layout = WeightLayout::of_file(config, *file);
    EXPECT_EQ(layout.file_bytes(), stored);
    const Plan plan = plan_of(config, layout, 2, {});
    const std::unique_ptr<IoBackend> io = make_io_backend();
    Bytes read{};
    static_cast<void>(Model::load(machine.context, config, layout, *file, plan, *io, {}, [&](Bytes done, Bytes total) {
      read = done;
      EXPECT_EQ(total, stored);
    }));
    EXPECT_EQ(read, stored);
  }
}

TEST(QuantizedModels, Bitnet) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    std::vector<int> ternary;
    std::vector<float> values;
    std::mt19937 random(seed);
    const float scale = to_float(to_bf16(kSize));
    for (Index i = 0; i < rows * cols; ++i) {
      ternary.push_back(static_cast<int>(random() % 3) - 1);
      values.push_back(static_cast<float>(ternary.back()) * scale);
    }
    if (module == "lm_head") {
      out.put_f32(module + ".weight", {rows, cols}, values);
    } else {
      put_bitnet(out, module, rows, cols, ternary, DType::kBF16, scale);
    }
    return values;
  };
  expect_same_model(R"("quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline")", put,
                    kActivationRounding);
}

TEST(QuantizedModels, ControlFailsWhenTheZeroPointsOfOneMatrixAreOffByOne) {
  const auto put = [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
    Grid grid = random_grid(rows, cols, 64, 4, DType::kF16, Zeros::kMiddle, seed, kSize);
    const std::vector<float> values = grid.values();
    if (module == "model.layers.1.self_attn.o_proj") {
      for (int& zero : grid.zeros) ++zero;
    }
    put_awq(out, module, grid);
    return values;
  };
  const Pair pair = make_pair(R"("quant_method": "awq", "bits": 4, "group_size": 64)", put);
  EXPECT_GT(difference(logits_of_checkpoint(pair.stored), logits_of_checkpoint(pair.floats)), kActivationRounding);
}

TEST(QuantizedModels, AreRefusedByNameWhereTheMethodIsUnknown) {
  Pair pair = make_pair("\"quant_method\": \"hqq\"",
                        [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
                          out.put_f32(module + ".weight", {rows, cols}, uniform(rows * cols, seed, kSize));
                          return uniform(rows * cols, seed, kSize);
                        });
  try {
    logits_of_checkpoint(pair.stored);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("'quant_method' 'hqq' is not supported yet"));
  }
}

TEST(QuantizedModels, NameTheTensorWhoseBytesContradictEachOther) {
  Pair pair = make_pair(R"("quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true)",
                        [](Checkpoint& out, const std::string& module, Index rows, Index cols, unsigned seed) {
                          const Grid grid = random_grid(rows, cols, 128, 4, DType::kF16, Zeros::kMiddle, seed, kSize);
                          put_gptq(out, module, grid, GptqZeros::kMinusOne);
                          return grid.values();
                        });
  pair.stored.tensors["model.layers.1.mlp.up_proj.g_idx"].bytes[0] = std::byte{9};
  try {
    logits_of_checkpoint(pair.stored);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("tensor 'model.layers.1.mlp.up_proj.weight'"),
                                             HasSubstr("input 0 is of group 9, there are 2")));
  }
}

}  // namespace
}  // namespace jericho
