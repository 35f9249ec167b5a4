// Upper bounds of published shapes on published devices, and what gives out first.
#include "audit/bounds.h"

#include <gtest/gtest.h>

#include "audit/test_shapes.h"

namespace jericho {
namespace {

Device known(const char* name) { return DeviceList::built_in().named(name); }

double decode(const nlohmann::json& json, const char* device, double context) {
  return decode_bound(TestShape(json).view(), known(device), KvType::kF16, 1, context).tokens_per_second();
}

TEST(CriticalBatch, IsTheRidgeAtSixteenBits) {
  EXPECT_EQ(std::round(critical_batch(known("a100-80").ridge(), 16)), 153);
  EXPECT_EQ(std::round(critical_batch(known("h100").ridge(), 16)), 295);
  EXPECT_EQ(std::round(critical_batch(known("h200").ridge(), 16)), 206);
  EXPECT_EQ(std::round(critical_batch(known("a100-80").ridge(), 8)), 77);
  EXPECT_EQ(std::round(critical_batch(known("a100-80").ridge(), 4.5)), 43);
}

TEST(DecodeBound, OfLlama3IsWhatBandwidthAllows) {
  EXPECT_NEAR(decode(llama3_8b(), "a100-80", 0), 135.8, 0.06);
  EXPECT_NEAR(decode(llama3_8b(), "rtx4090", 0), 67.2, 0.06);
  EXPECT_NEAR(decode(llama3_70b(), "a100-80", 8192), 14.4, 0.05);
  EXPECT_NEAR(decode(llama3_70b(), "h100", 8192), 23.6, 0.05);
  EXPECT_NEAR(decode(llama3_70b(), "h200", 8192), 33.9, 0.05);
  EXPECT_NEAR(decode(llama3_70b(), "b200", 8192), 56.5, 0.05);
  EXPECT_NEAR(decode(llama3_70b(), "mi300x", 8192), 37.4, 0.05);
}

TEST(DecodeBound, OfTwoDevicesIsTwice) {
  const TestShape shape(llama3_70b());
  EXPECT_NEAR(decode_bound(shape.view(), known("a100-80").times(2), KvType::kF16, 1, 8192).tokens_per_second(), 28.8,
              0.05);
}

TEST(DecodeBound, OfOneSequenceIsMemoryAndOfManyArithmetic) {
  const TestShape shape(llama3_8b());
  EXPECT_EQ(decode_bound(shape.view(), known("h100"), KvType::kF16, 1, 0).resource, Resource::kBandwidth);
  EXPECT_EQ(decode_bound(shape.view(), known("h100"), KvType::kF16, 400, 0).resource, Resource::kCompute);
}

TEST(DecodeBound, WithoutAKnownPeakIsThatOfMemory) {
  const TestShape shape(llama3_8b());
  Device device = known("h100");
  device.peaks.fill(0);
  EXPECT_EQ(decode_bound(shape.view(), device, KvType::kF16, 4096, 0).resource, Resource::kBandwidth);
}

TEST(PrefillBound, OfALongPromptIsArithmetic) {
  const TestShape shape(llama3_8b());
  const Bound bound = prefill_bound(shape.view(), known("h100"), KvType::kF16, 4096, 4096);
  EXPECT_EQ(bound.resource, Resource::kCompute);
  EXPECT_LT(bound.tokens_per_second(), 989.5e12 / (2 * 7.5e9));
}

TEST(Starvation, FindsTheFirstBatchAndContextThatDoNotFit) {
  const TestShape shape(llama3_8b());
  const auto fits = [](Index batch, Index context) { return batch * context <= 100'000; };
  const Starvation s = find_starvation(shape.view(), known("h100"), KvType::kF16, 2, 1000, 131072, fits);
  EXPECT_TRUE(s.fits);
  EXPECT_EQ(s.batch_of_capacity, 101);
  EXPECT_EQ(s.context_of_capacity, 50'001);
  EXPECT_EQ(s.first, Resource::kCapacity);
  EXPECT_EQ(s.single, Resource::kBandwidth);
  EXPECT_EQ(s.crossover, 122'532);
}

TEST(Starvation, NamesArithmeticWhereRoomIsPlenty) {
  const TestShape shape(llama3_8b());
  const auto plenty = [](Index, Index) { return true; };
  const Starvation s = find_starvation(shape.view(), known("h100"), KvType::kF16, 1, 1, 131072, plenty);
  EXPECT_FALSE(s.batch_of_capacity || s.context_of_capacity);
  ASSERT_TRUE(s.batch_of_compute);
  EXPECT_NEAR(static_cast<double>(*s.batch_of_compute), 295, 5);
  EXPECT_EQ(s.first, Resource::kCompute);
  // Keys and values are read per sequence: however many there are, their intensity stays below the ridge.
  const Starvation deep = find_starvation(shape.view(), known("h100"), KvType::kF16, 1, 131072, 131072, plenty);
  EXPECT_FALSE(deep.batch_of_compute);
  EXPECT_EQ(deep.first, Resource::kBandwidth);
}

TEST(Starvation, IsOfCapacityWhereNothingFits) {
  const TestShape shape(llama3_70b());
  const auto none = [](Index, Index) { return false; };
  const Starvation s = find_starvation(shape.view(), known("rtx4090"), KvType::kF16, 1, 1000, 8192, none);
  EXPECT_FALSE(s.fits);
  EXPECT_EQ(s.batch_of_capacity, 1);
  EXPECT_EQ(s.context_of_capacity, 1);
  EXPECT_EQ(s.first, Resource::kCapacity);
}

TEST(Verdict, IsByWhichResourceIsHalfUsed) {
  EXPECT_EQ(verdict_of({.bandwidth = 0.8, .compute = 0.1}), Verdict::kMemoryBound);
  EXPECT_EQ(verdict_of({.bandwidth = 0.2, .compute = 0.6}), Verdict::kComputeBound);
  EXPECT_EQ(verdict_of({.bandwidth = 0.2, .compute = 0.1}), Verdict::kOverheadBound);
  EXPECT_EQ(verdict_of({.bandwidth = 0.5, .compute = 0.5}), Verdict::kBalanced);
  EXPECT_EQ(verdict_of({.bandwidth = 0.2, .compute = 0.1, .disk = 0.9}), Verdict::kDiskBound);
  EXPECT_EQ(verdict_of({.bandwidth = 0.2, .compute = 0.6, .disk = 0.6}), Verdict::kComputeBound);
}

TEST(Verdict, IsExplainedAtEveryLevel) {
  EXPECT_NE(explanation({.bandwidth = 1.3}).find("cache"), std::string_view::npos);
  EXPECT_NE(explanation({.bandwidth = 0.8}).find("fewer bytes"), std::string_view::npos);
  EXPECT_NE(explanation({.bandwidth = 0.6}).find("room"), std::string_view::npos);
  EXPECT_NE(explanation({.bandwidth = 0.3, .compute = 0.6}).find("arithmetic"), std::string_view::npos);
  EXPECT_NE(explanation({.bandwidth = 0.3, .compute = 0.1}).find("latency"), std::string_view::npos);
}

}  // namespace
}  // namespace jericho
