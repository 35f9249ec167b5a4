// Workloads that grow, machines that grow, and which of the two is faster.
#include "audit/roadmap.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/test_shapes.h"
#include "base/error.h"

namespace jericho {
namespace {

using testing::HasSubstr;

Roadmap roadmap(const std::string& text) { return read_roadmap(text, "roadmap.json", DeviceList::built_in()); }

std::string with(const std::string& workload, const std::string& growth = "{}") {
  return R"({"start": "2025-01", "end": "2045-01", "devices": ["h200"], "growth": )" + growth + R"(, "workloads": [)" +
         workload + "]}";
}

WorkloadFate fate(const std::string& text) {
  const TestShape shape(llama3_8b());
  return follow(shape.view(), KvType::kF16, roadmap(text)).at(0);
}

TEST(Roadmap, NamesTheFirstMonthWithoutRoom) {
  // 139.8 GiB of an H200 less 14.96 of weights hold 1.02 million tokens; 131072 double every year.
  const WorkloadFate f = fate(with(R"({"name": "agents", "context": 131072, "growth": {"context": 2}})"));
  ASSERT_TRUE(f.starves);
  EXPECT_EQ(f.starves->shortage.resource(), Resource::kCapacity);
  const double years = std::log2(((143700.0 / 1024 - 0.5) - 14.957) * 0x1p30 / 131072 / 131072);
  EXPECT_NEAR(f.starves->month - *parse_month("2025-01"), 12 * years, 1.01);
}

TEST(Roadmap, NamesBandwidthWhereTokensMustComeFaster) {
  const WorkloadFate f = fate(with(R"({"tokens_per_second": 200, "growth": {"parameters": 2}})"));
  ASSERT_TRUE(f.starves);
  EXPECT_EQ(f.starves->shortage.resource(), Resource::kBandwidth);
  EXPECT_EQ(f.workload, "workload 1");
}

TEST(Roadmap, NamesComputeWherePromptsGrowHeavy) {
  const WorkloadFate f = fate(with(R"({"prompt": 8192, "first_token_seconds": 0.5, "growth": {"parameters": 1.5}})",
                                   R"({"bandwidth": 3, "capacity": 3})"));
  ASSERT_TRUE(f.starves);
  EXPECT_EQ(f.starves->shortage.resource(), Resource::kCompute);
  EXPECT_TRUE(f.starves->extrapolated);
}

TEST(Roadmap, ThatGrowsAsFastAsTheWorkloadNeverStarves) {
  const WorkloadFate f =
      fate(with(R"({"growth": {"parameters": 1.5}})", R"({"compute": 1.5, "bandwidth": 1.5, "capacity": 1.5})"));
  EXPECT_FALSE(f.starves);
  EXPECT_EQ(f.years.size(), 21U);
}

TEST(Roadmap, UsesADeviceFromItsMonthOn) {
  const Roadmap r =
      roadmap(R"({"start": "2020-01", "end": "2026-01", "devices": ["h100", {"name": "next", "memory_gib": 1000,
      "bandwidth_gbps": 20000, "bf16_tflops": 9000, "available": "2025-06"}], "workloads": [{"context": 4096}]})");
  const TestShape shape(llama3_8b());
  const auto at = [&](const char* month) {
    return best_at(shape.view(), KvType::kF16, r, r.workloads[0], *parse_month(month)).device;
  };
  EXPECT_EQ(at("2021-01"), "");  // nothing to run on is no starvation
  EXPECT_EQ(at("2025-05"), "h100");
  EXPECT_EQ(at("2025-06"), "next");
}

std::string complaint(const std::string& text) {
  try {
    static_cast<void>(roadmap(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  ADD_FAILURE() << "no complaint about " << text;
  return {};
}

TEST(Roadmap, ThatIsWrongIsRefusedByTheNameOfTheField) {
  EXPECT_THAT(complaint("{"), HasSubstr("roadmap.json"));
  EXPECT_THAT(complaint("[]"), HasSubstr("object"));
  EXPECT_THAT(complaint("{}"), HasSubstr("start"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2024-01"})"), HasSubstr("end"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "9999-01"})"), HasSubstr("end"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2026-01"})"), HasSubstr("devices"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2026-01", "devices": []})"), HasSubstr("devices"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2026-01", "devices": ["h300"]})"), HasSubstr("h300"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2026-01", "devices": [3]})"), HasSubstr("object"));
  EXPECT_THAT(
      complaint(
          R"({"start": "2025-01", "end": "2026-01", "devices": [{"name": "x", "memory_gib": 8, "bandwidth_gbps": 1}]})"),
      HasSubstr("available"));
  EXPECT_THAT(complaint(R"({"start": "2025-01", "end": "2026-01", "devices": ["h100"]})"), HasSubstr("workloads"));
  EXPECT_THAT(complaint(with(R"({"context": 0})")), HasSubstr("context"));
  EXPECT_THAT(complaint(with(R"({"context": 1.5})")), HasSubstr("context"));
  EXPECT_THAT(complaint(with(R"({"contexts": 1})")), HasSubstr("contexts"));
  EXPECT_THAT(complaint(with(R"({"growth": {"context": -2}})")), HasSubstr("growth"));
  EXPECT_THAT(complaint(with(R"({"growth": {"context": 1e9}})")), HasSubstr("factor"));
  EXPECT_THAT(complaint(with("{}", "7")), HasSubstr("growth"));
}

TEST(Roadmap, OfAbsurdGrowthStaysFinite) {
  const WorkloadFate f =
      fate(with(R"({"context": 1000000, "growth": {"context": 1000, "batch": 1000, "parameters": 1000}})",
                R"({"compute": 1000, "bandwidth": 1000, "capacity": 1000})"));
  for (const RoadmapPoint& point : f.years) EXPECT_FALSE(std::isnan(point.shortage.worst()));
}

}  // namespace
}  // namespace jericho
