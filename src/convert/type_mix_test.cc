// The mixes against what files made by llama.cpp hold.
#include "convert/type_mix.h"

#include <set>

#include <gtest/gtest.h>

#include "kernels/quantize_rows.h"

namespace jericho {
namespace {

ModelConfig llama(Index layers, Index heads = 32, Index kv_heads = 32) {
  ModelConfig config;
  config.num_hidden_layers = layers;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  return config;
}

DType type(const char* mix, const std::string& tensor, const ModelConfig& config = llama(32), Index cols = 4096) {
  return TypeMix::named(mix).value().type_of(tensor, cols, config);
}

TEST(TypeMix, Q4KMGivesSixBitsToHalfOfTheValuesAndDownProjections) {
  // A Llama-2-7B of 32 layers: 0-3, 6, 9, 12, 15, 18, 21, 24, 27, 28-31.
  const std::set<Index> more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  for (Index layer = 0; layer < 32; ++layer) {
    const std::string blk = "blk." + std::to_string(layer) + ".";
    const DType expected = more.count(layer) > 0 ? DType::kQ6_K : DType::kQ4_K;
    EXPECT_EQ(type("Q4_K_M", blk + "attn_v.weight"), expected) << layer;
    EXPECT_EQ(type("Q4_K_M", blk + "ffn_down.weight"), expected) << layer;
    EXPECT_EQ(type("Q4_K_M", blk + "attn_q.weight"), DType::kQ4_K);
    EXPECT_EQ(type("Q4_K_M", blk + "attn_output.weight"), DType::kQ4_K);
  }
  EXPECT_EQ(type("Q4_K_M", "output.weight"), DType::kQ6_K);
  EXPECT_EQ(type("Q4_K_M", "token_embd.weight"), DType::kQ4_K);
}

TEST(TypeMix, ATiedEmbeddingIsTreatedAsTheHead) {
  ModelConfig config = llama(16);
  config.tie_word_embeddings = true;
  EXPECT_EQ(type("Q4_K_M", "token_embd.weight", config), DType::kQ6_K);
  EXPECT_EQ(type("Q4_0", "token_embd.weight", config), DType::kQ6_K);
  EXPECT_EQ(type("Q8_0", "token_embd.weight", config), DType::kQ8_0);
}

TEST(TypeMix, LooksAtHowManyHeadsShareTheirValues) {
  EXPECT_EQ(type("Q2_K", "blk.5.attn_v.weight", llama(32, 32, 8)), DType::kQ4_K);
  EXPECT_EQ(type("Q2_K", "blk.5.attn_v.weight", llama(32, 32, 32)), DType::kQ3_K);
  ModelConfig mixtral = llama(32, 32, 8);
  mixtral.moe.experts = 8;
  EXPECT_EQ(type("Q4_K_M", "blk.5.attn_v.weight", mixtral), DType::kQ8_0);
  EXPECT_EQ(type("Q4_K_M", "blk.5.attn_k.weight", mixtral), DType::kQ8_0);
  EXPECT_EQ(type("Q4_K_M", "blk.5.attn_output.weight", mixtral), DType::kQ5_K);
}

TEST(TypeMix, FallsBackWhereARowDoesNotDivideIntoBlocks) {
  EXPECT_EQ(type("Q4_K_M", "blk.0.attn_q.weight", llama(32), 4096 + 32), DType::kQ5_0);
  EXPECT_EQ(type("Q6_K", "blk.0.attn_q.weight", llama(32), 96), DType::kQ8_0);
  EXPECT_EQ(type("Q3_K_S", "blk.0.attn_q.weight", llama(32), 96), DType::kQ4_0);
  EXPECT_EQ(type("Q4_K_M", "blk.0.attn_q.weight", llama(32), 100), DType::kF16);
  EXPECT_EQ(type("Q8_0", "blk.0.attn_q.weight", llama(32), 100), DType::kF16);
  EXPECT_EQ(type("F32", "blk.0.attn_q.weight", llama(32), 100), DType::kF32);
}

TEST(TypeMix, OnlyAsksForTypesThatWeCanRoundTo) {
  for (const char* mix :
       {"F32",    "F16",    "BF16",   "Q4_0",   "Q4_1",   "Q5_0",   "Q5_1", "Q8_0",  "Q2_K",  "Q2_K_S", "Q3_K_S",
        "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4",  "Q1_0"}) {
    for (const char* tensor : {"token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.1.attn_v.weight",
                               "blk.2.ffn_down.weight", "blk.3.attn_output.weight", "blk.4.ffn_gate_exps.weight"}) {
      for (const Index cols : {4096, 96, 100}) {
        EXPECT_TRUE(is_quantizable(type(mix, tensor, llama(32), cols))) << mix << " " << tensor << " " << cols;
      }
    }
  }
}

TEST(TypeMix, IsNamedInAnyCaseAndWithoutItsSize) {
  EXPECT_EQ(TypeMix::named("q4_k_m")->file_type(), 15u);
  EXPECT_EQ(TypeMix::named("Q5_K")->name(), "Q5_K_M");
  EXPECT_FALSE(TypeMix::named("IQ2_XXS").has_value());
  EXPECT_FALSE(TypeMix::named("").has_value());
}

}  // namespace
}  // namespace jericho
