// What published shapes are known to weigh and to ask, number by number.
#include "audit/model_work.h"

#include <gtest/gtest.h>

#include "audit/test_shapes.h"
#include "models/transformer.h"

namespace jericho {
namespace {

TEST(Parameters, OfPublishedShapesAreExact) {
  EXPECT_EQ(count_parameters(TestShape(llama3_8b()).weights).total, 8'030'261'248);
  EXPECT_EQ(count_parameters(TestShape(llama3_70b()).weights).total, 70'553'706'496);
  EXPECT_EQ(count_parameters(TestShape(llama2_7b()).weights).total, 6'738'415'616);
  EXPECT_EQ(count_parameters(TestShape(llama32_1b()).weights).total, 1'235'814'400);
  EXPECT_EQ(count_parameters(TestShape(qwen25_half_b()).weights).total, 494'032'768);
}

TEST(Parameters, OfATiedModelHaveNoTableThatIsOnlyGathered) {
  EXPECT_EQ(count_parameters(TestShape(llama32_1b()).weights).embedding, 0);
  EXPECT_EQ(count_parameters(TestShape(llama3_8b()).weights).embedding, 128256 * 4096);
}

TEST(Parameters, OfExpertsAreActiveWhereTheTokenGoes) {
  const ParameterCount count = count_parameters(TestShape(mixtral_8x7b()).weights);
  EXPECT_EQ(count.total, 46'702'792'704);
  const double expert = 3.0 * 4096 * 14336;
  EXPECT_DOUBLE_EQ(count.active, static_cast<double>(count.total) - 32 * 6 * expert);
  const ParameterCount dense = count_parameters(TestShape(llama3_8b()).weights);
  EXPECT_DOUBLE_EQ(dense.active, static_cast<double>(dense.total));
}

TEST(Weights, TakeTwoBytesAParameterAtSixteenBits) {
  EXPECT_EQ(checkpoint_bytes(TestShape(llama3_8b()).weights).count, 16'060'522'496);
  EXPECT_EQ(checkpoint_bytes(TestShape(llama3_70b()).weights).count, 141'107'412'992);
  EXPECT_DOUBLE_EQ(bits_per_weight(TestShape(llama3_8b(), DType::kBF16).weights), 16);
}

TEST(Weights, OfBlocksKeepTheirVectorsInFullPrecision) {
  const TestShape shape(llama2_7b(), DType::kQ4_0);
  const Index vectors = 65 * 4096;
  const Index matrices = 6'738'415'616 - vectors;
  EXPECT_EQ(checkpoint_bytes(shape.weights).count, matrices / 32 * 18 + vectors * 4);
  const auto types = weights_by_type(shape.weights);
  ASSERT_EQ(types.size(), 2U);
  EXPECT_EQ(types[0].dtype, DType::kQ4_0);
  EXPECT_EQ(types[0].parameters, matrices);
  EXPECT_EQ(types[1].parameters, vectors);
}

TEST(Kv, BytesPerTokenOfPublishedShapesAreExact) {
  EXPECT_EQ(kv_bytes(TestShape(llama3_8b()).config, KvType::kF16, 1).count, 131'072);
  EXPECT_EQ(kv_bytes(TestShape(llama3_70b()).config, KvType::kF16, 1).count, 327'680);
  EXPECT_EQ(kv_bytes(TestShape(llama2_7b()).config, KvType::kF16, 1).count, 524'288);
  EXPECT_EQ(kv_bytes(TestShape(llama32_1b()).config, KvType::kF16, 1).count, 32'768);
  EXPECT_EQ(kv_bytes(TestShape(qwen25_half_b()).config, KvType::kF16, 1).count, 12'288);
}

TEST(Kv, OfLongContextsIsExact) {
  EXPECT_EQ(kv_bytes(TestShape(llama3_8b()).config, KvType::kF16, 131072), 16_GiB);
  EXPECT_EQ(kv_bytes(TestShape(llama3_70b()).config, KvType::kF16, 131072), 40_GiB);
  EXPECT_EQ(kv_bytes(TestShape(llama3_70b()).config, KvType::kF16, 8192).count, 2'684'354'560);
}

TEST(Kv, OfALayerWithAWindowEndsWithIt) {
  ModelConfig config = TestShape(llama3_8b()).config;
  for (std::size_t i = 0; i < config.layers.size(); i += 2) config.layers[i].window = 4096;
  EXPECT_EQ(kv_bytes(config, KvType::kF16, 4096).count, 4096 * 131'072);
  EXPECT_EQ(kv_bytes(config, KvType::kF16, 8192).count, (4096 + 8192) * 65'536);
}

TEST(Kv, OfLatentAttentionIsOneCopyWithoutValues) {
  ModelConfig v3;
  v3.num_hidden_layers = 61;
  v3.num_attention_heads = 128;
  v3.latent = {.kv_lora_rank = 512, .q_lora_rank = 1536, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  v3.layers.assign(61, {});
  EXPECT_EQ(kv_bytes(v3, KvType::kBF16, 1).count, 70'272);
  EXPECT_NEAR(attention_decode_op(v3, KvType::kBF16, 1).intensity(), 241.8, 0.05);
}

TEST(Kv, BlocksOfQuantizedKeysHaveAScaleAndAMinimumPerChannel) {
  EXPECT_EQ(key_block_bytes(32, 128, 4).count, 2560);
  EXPECT_EQ(key_block_bytes(64, 128, 4).count, 4608);
  EXPECT_EQ(key_block_bytes(32, 128, 8).count, 4608);
}

TEST(Kv, WeighsAsMuchAsTheWeightsAtTheCrossover) {
  const auto crossover = [](const nlohmann::json& json) {
    const TestShape shape(json);
    return crossover_context(checkpoint_bytes(shape.weights), kv_bytes(shape.config, KvType::kF16, 1));
  };
  EXPECT_EQ(crossover(llama3_8b()), 122'532);
  EXPECT_EQ(crossover(llama3_70b()), 430'626);
  EXPECT_EQ(crossover_context(1_GiB, {}), 0);
}

TEST(Logits, OfEveryRowAreCounted) { EXPECT_EQ(logit_bytes(TestShape(llama3_8b()).config, 2048).count, 1'050'673'152); }

TEST(Intensity, OfALinearMapRisesWithItsRows) {
  EXPECT_NEAR(linear_op(1, 8192, 8192, 16).intensity(), 1.00, 0.005);
  EXPECT_NEAR(linear_op(8, 8192, 8192, 16).intensity(), 7.98, 0.005);
  EXPECT_NEAR(linear_op(128, 8192, 8192, 16).intensity(), 124.1, 0.05);
  EXPECT_NEAR(linear_op(512, 8192, 8192, 16).intensity(), 455.1, 0.05);
}

TEST(Intensity, OfAttentionIsTheNumberOfQueriesPerKey) {
  EXPECT_DOUBLE_EQ(attention_decode_op(TestShape(llama3_70b()).config, KvType::kF16, 1000).intensity(), 8);
  EXPECT_DOUBLE_EQ(attention_decode_op(TestShape(llama2_7b()).config, KvType::kF16, 1000).intensity(), 1);
}

TEST(Intensity, OfDecodingOneSequenceIsTwoOperationsAWeight) {
  EXPECT_NEAR(intensity(decode_ops(TestShape(llama3_8b()).view(), KvType::kF16, 1, 0)), 1.0, 0.001);
  EXPECT_NEAR(intensity(decode_ops(TestShape(llama3_8b(), DType::kQ8_0).view(), KvType::kF16, 1, 0)), 16 / 8.5, 0.01);
  EXPECT_NEAR(intensity(decode_ops(TestShape(llama3_8b(), DType::kQ4_0).view(), KvType::kF16, 1, 0)), 16 / 4.5, 0.01);
}

TEST(Decode, ReadsTheWeightsOnceForTheBatchAndTheCacheForEachSequence) {
  const TestShape shape(llama3_70b());
  const double weights = 141'107'412'992.0 - 128256.0 * 8192 * 2;
  const double one = total_bytes(decode_ops(shape.view(), KvType::kF16, 1, 8192));
  const double eight = total_bytes(decode_ops(shape.view(), KvType::kF16, 8, 8192));
  EXPECT_NEAR(one, weights + 2'684'354'560, 4e6);  // the vectors are not looked at
  EXPECT_NEAR(eight - one, 7 * 2'684'354'560.0, 1);
}

TEST(Decode, OfABatchMeetsMoreAndMoreExperts) {
  const TestShape shape(mixtral_8x7b());
  const auto experts = [&](double batch) {
    for (const Op& op : decode_ops(shape.view(), KvType::kF16, batch, 0)) {
      if (op.part == Part::kFeedForward) return op.weight_bytes / (32 * 3.0 * 4096 * 14336 * 2);
    }
    return 0.0;
  };
  EXPECT_NEAR(experts(1), 2, 0.01);
  EXPECT_NEAR(experts(4), 8 * (1 - 0.31640625), 0.01);  // 8 (1 - (3/4)^4)
  EXPECT_NEAR(experts(64), 8, 0.01);
}

TEST(Prefill, ReadsTheWeightsOncePerChunk) {
  const TestShape shape(llama3_8b());
  const auto weights = [&](double tokens, double chunk) {
    double sum = 0;
    for (const Op& op : prefill_ops(shape.view(), KvType::kF16, tokens, chunk)) sum += op.weight_bytes;
    return sum;
  };
  const double head = 128256.0 * 4096 * 2;
  EXPECT_NEAR(weights(1024, 512) - head, 2 * (weights(512, 512) - head), 1);
}

TEST(Prefill, OfAttentionIsQuadraticAndLinearBeyondAWindow) {
  TestShape shape(llama3_8b());
  const auto attention = [&](double tokens) {
    for (const Op& op : prefill_ops(shape.view(), KvType::kF16, tokens, 512)) {
      if (op.part == Part::kAttention) return op.total_operations();
    }
    return 0.0;
  };
  EXPECT_NEAR(attention(8192) / (2.0 * 32 * 128 * 8192 * 8192 * 32), 1, 0.001);
  for (LayerConfig& layer : shape.config.layers) layer.window = 1024;
  EXPECT_NEAR(attention(65536) / attention(32768), 2, 0.02);
}

TEST(StateSpace, KeepsItsStateWhateverTheContext) {
  const TestShape mamba({{"architectures", {"MambaForCausalLM"}},
                         {"hidden_size", 2560},
                         {"intermediate_size", 5120},
                         {"num_hidden_layers", 64},
                         {"state_size", 16},
                         {"conv_kernel", 4},
                         {"time_step_rank", 160},
                         {"vocab_size", 50280},
                         {"tie_word_embeddings", true}});
  EXPECT_EQ(kv_bytes(mamba.config, KvType::kF16, 100000), Bytes{});
  EXPECT_EQ(state_bytes(mamba.config, KvType::kF16).count, 22'937'600);
  const double shallow = total_bytes(decode_ops(mamba.view(), KvType::kF16, 1, 0));
  EXPECT_EQ(shallow, total_bytes(decode_ops(mamba.view(), KvType::kF16, 1, 100000)));
}

}  // namespace
}  // namespace jericho
