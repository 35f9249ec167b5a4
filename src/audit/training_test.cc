// What training published shapes would hold, number by number.
#include "audit/training.h"

#include <gtest/gtest.h>

#include "audit/test_shapes.h"

namespace jericho {
namespace {

constexpr double kLlama27b = 6'738'415'616.0;

double per_parameter(TrainingMethod method) {
  const TestShape shape(llama2_7b());
  return static_cast<double>(training_state(method, shape.weights, 16).total().count) / kLlama27b;
}

TEST(Training, OfAllParametersTakesWhatEachMethodKeeps) {
  EXPECT_DOUBLE_EQ(per_parameter(TrainingMethod::kAdamWFp32), 16);
  EXPECT_DOUBLE_EQ(per_parameter(TrainingMethod::kAdamWMixed), 16);
  EXPECT_DOUBLE_EQ(per_parameter(TrainingMethod::kAdamWBf16), 8);
  EXPECT_NEAR(per_parameter(TrainingMethod::kAdamW8Bit), 10.03125, 1e-6);
  EXPECT_DOUBLE_EQ(per_parameter(TrainingMethod::kMomentumFp32), 12);
  EXPECT_DOUBLE_EQ(per_parameter(TrainingMethod::kMomentumBf16), 10);
  EXPECT_NEAR(per_parameter(TrainingMethod::kAdafactor), 8, 0.01);
}

TEST(Training, MixedOfLlama2IsExact) {
  const TestShape shape(llama2_7b());
  EXPECT_EQ(training_state(TrainingMethod::kAdamWMixed, shape.weights, 16).total().count, 16 * 6'738'415'616);
}

TEST(Training, AdaptersOnAllLinearMapsAreCounted) {
  const TestShape shape(llama2_7b());
  EXPECT_EQ(lora_parameters(shape.weights, 16), 39'976'960);
  const TrainingState lora = training_state(TrainingMethod::kLora, shape.weights, 16);
  EXPECT_EQ(lora.trainable, 39'976'960);
  EXPECT_EQ(lora.total().count, 16 * 39'976'960 + 2 * 6'738'415'616);
}

TEST(Training, TheQuantizedBaseOfAdaptersTakesItsScalesToo) {
  const TestShape shape(llama2_7b());
  const Index linear = count_parameters(shape.weights).linear;
  EXPECT_EQ(linear, 6'476'005'376);
  EXPECT_EQ(kNf4DoubleQuantBits, 4.126953125);
  const TrainingState qlora = training_state(TrainingMethod::kQLora, shape.weights, 16);
  const std::int64_t adapters = 16 * 39'976'960;
  EXPECT_EQ(qlora.total().count - adapters - 2 * (6'738'415'616 - linear), 3'340'771'328);
}

TEST(Training, LowRankStateIsThatOfTheSmallerSide) {
  const TestShape shape(llama_json(1, 64, 256, 4, 4, 100));
  const auto optimizer = [&](TrainingMethod method) {
    return training_state(method, shape.weights, 8).optimizer.count;
  };
  const Index rest = 8 * (100 * 64 + 100 * 64 + 3 * 64);  // embedding, head and norms: AdamW
  const Index square = 4, wide = 3;                       // q, k, v, o and gate, up, down
  EXPECT_EQ(optimizer(TrainingMethod::kGaLore),
            rest + square * 4 * (64 * 8 + 2 * 64 * 8) + wide * 4 * (64 * 8 + 2 * 256 * 8));
  EXPECT_EQ(optimizer(TrainingMethod::kApollo), rest + square * 4 * 2 * 64 * 8 + wide * 4 * 2 * 256 * 8);
  EXPECT_EQ(optimizer(TrainingMethod::kApolloMini), rest + square * 4 * 2 * 64 + wide * 4 * 2 * 256);
}

TEST(Training, ARankAsLargeAsTheMatrixSavesNothing) {
  const TestShape shape(llama_json(1, 64, 256, 4, 4, 100));
  EXPECT_EQ(training_state(TrainingMethod::kGaLore, shape.weights, 64).optimizer,
            training_state(TrainingMethod::kAdamWMixed, shape.weights, 64).optimizer);
}

TEST(Activations, OfALlamaLayerAreCountedOpByOp) {
  const TestShape shape(llama3_8b());
  const std::int64_t layer = 2 * (3 * 4096 + (2 * 32 + 2 * 8) * 128 + 3 * 14336) + 4 * 32;
  EXPECT_EQ(saved_activations(shape.config, 2048, Recompute::kNone).count, 2048 * 32 * layer);
  EXPECT_EQ(saved_activations(shape.config, 2048, Recompute::kLayers).count, 2048 * (32 * 2 * 4096 + layer));
}

TEST(Activations, WithScoresAreThoseOfKorthikanti) {
  EXPECT_DOUBLE_EQ(gelu_layer_bytes(2048, 12288, 96, 2048), 2048.0 * 12288 * (34 + 80));
}

TEST(Activations, LogitsAndTheirGradientAreTwice) {
  EXPECT_EQ(training_logit_bytes(TestShape(llama3_8b()).config, 2048).count, 2 * 1'050'673'152);
}

}  // namespace
}  // namespace jericho
