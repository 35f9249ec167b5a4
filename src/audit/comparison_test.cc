// Which devices a published shape takes, and what its tokens cost on them.
#include "audit/comparison.h"

#include <gtest/gtest.h>

#include "audit/test_shapes.h"

namespace jericho {
namespace {

ComparedDevice compared(const nlohmann::json& json, DType type, const char* device, Index context, Index batch = 1) {
  const DeviceList list = DeviceList::built_in();
  return compare(TestShape(json, type).view(), {.context = context, .batch = batch}, list.named(device));
}

TEST(Comparison, NeedsTheCardsThatHoldTheWeights) {
  EXPECT_EQ(compared(llama3_8b(), DType::kF16, "rtx4090", 1024).cards, 1);
  EXPECT_EQ(compared(llama3_70b(), DType::kF16, "a100-80", 8192).cards, 2);
  EXPECT_EQ(compared(llama3_70b(), DType::kF16, "h200", 8192).cards, 1);
}

TEST(Comparison, CountsHundredsOfChipsWithoutMuchMemory) {
  // 8.5 bits a weight, some cache and activations: a little more than the 307 of weights in 8 bits alone.
  const Index cards = compared(llama3_70b(), DType::kQ8_0, "groq-lpu", 1).cards;
  EXPECT_GT(cards, 307);
  EXPECT_LT(cards, 350);
}

TEST(Comparison, SpeedsAreThoseOfAllCardsTogether) {
  const ComparedDevice two = compared(llama3_70b(), DType::kF16, "a100-80", 8192);
  EXPECT_NEAR(two.single.tokens_per_second(), 28.8, 0.05);
  EXPECT_GT(two.sequences, 1);
  EXPECT_GT(two.full.tokens_per_second(), two.single.tokens_per_second());
}

TEST(Comparison, CostsWhereTheDeviceHasAPriceAndWatts) {
  const ComparedDevice rented = [] {
    Device device = DeviceList::built_in().named("h100");
    device.usd_per_hour = 3.6;
    return compare(TestShape(llama3_8b()).view(), {.context = 1024}, device);
  }();
  const double rate = rented.full.tokens_per_second();
  EXPECT_NEAR(*rented.usd_per_million, 3.6 / 3600 * 1e6 / rate, 1e-9);
  EXPECT_NEAR(*rented.joules_per_million, 700 * 1e6 / rate, 1e-6);
  EXPECT_FALSE(compared(llama3_8b(), DType::kF16, "h100", 1024).usd_per_million);
  EXPECT_FALSE(compared(llama32_1b(), DType::kF16, "m1", 1024).joules_per_million);
  // Bought: three years of use and electricity.
  const DeviceList list = DeviceList::built_in();
  EXPECT_NEAR(*usd_per_hour(list.named("rtx4090")), 1599 / (3 * 8766.0) + 0.45 * 0.15, 1e-9);
}

TEST(Comparison, OfWhatNoNumberOfCardsHoldsHasNoSpeeds) {
  Device tiny = DeviceList::built_in().named("groq-lpu");
  tiny.memory = 1_KiB;
  const ComparedDevice result = compare(TestShape(llama3_8b()).view(), {.context = 16}, tiny);
  EXPECT_EQ(result.cards, 0);
  EXPECT_EQ(result.full.tokens_per_second(), 0);
}

}  // namespace
}  // namespace jericho
