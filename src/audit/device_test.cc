// The built-in devices, and files that extend, correct or spoil them.
#include "audit/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using testing::HasSubstr;

double gib(Bytes bytes) { return static_cast<double>(bytes.count) / 0x1p30; }

TEST(Devices, HaveTheRidgesThatAreKnown) {
  const DeviceList list = DeviceList::built_in();
  EXPECT_NEAR(list.named("a100-40").ridge(), 200.6, 0.05);
  EXPECT_NEAR(list.named("a100-80").ridge(), 153.0, 0.05);
  EXPECT_NEAR(list.named("a100-80-pcie").ridge(), 161.2, 0.05);
  EXPECT_NEAR(list.named("h100").ridge(), 295.4, 0.05);
  EXPECT_NEAR(list.named("h200").ridge(), 206.1, 0.05);
  EXPECT_NEAR(list.named("rtx4090").ridge(), 164, 0.5);
  EXPECT_NEAR(list.named("groq-lpu").ridge(), 2.4, 0.1);
}

TEST(Devices, HaveLessMemoryThanTheirLabelSays) {
  const DeviceList list = DeviceList::built_in();
  EXPECT_NEAR(gib(list.named("h200").memory), 143700.0 / 1024 - 0.5, 0.01);  // as it reports
  EXPECT_NEAR(gib(list.named("l4").memory), 24 * 0.98 - 0.5, 0.01);
  EXPECT_EQ(list.named("groq-lpu").memory.count, 230'000'000);
}

TEST(Devices, AllSayWhereTheirFiguresAreFrom) {
  const DeviceList list = DeviceList::built_in();
  for (const Device& device : list.all()) {
    SCOPED_TRACE(device.name);
    EXPECT_FALSE(device.source.empty());
    EXPECT_TRUE(parse_month(device.available));
    EXPECT_GT(device.memory, Bytes{});
  }
}

TEST(Devices, ThatAreUnknownAreAnsweredWithThoseThereAre) {
  try {
    static_cast<void>(DeviceList::built_in().named("h300"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("h300"), HasSubstr("h200"), HasSubstr("--devices")));
  }
}

TEST(Devices, OfAFileAreAddedAndCorrected) {
  DeviceList list = DeviceList::built_in();
  const std::size_t before = list.all().size();
  list.merge(R"({"devices": [{"name": "mine", "memory_gib": 100, "bandwidth_gbps": 500, "_why": "a test"},
                             {"name": "h100", "usd_per_hour": 2.5}]})",
             "test");
  EXPECT_EQ(list.all().size(), before + 1);
  EXPECT_EQ(list.named("mine").bytes_per_second, 500e9);
  EXPECT_EQ(list.named("mine").ridge(), 0);  // arithmetic is not known
  EXPECT_EQ(list.named("h100").usd_per_hour, 2.5);
  EXPECT_EQ(list.named("h100").bytes_per_second, 3350e9);
}

std::string complaint(const std::string& text) {
  DeviceList list;
  try {
    list.merge(text, "devices.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  ADD_FAILURE() << "no complaint about " << text;
  return {};
}

TEST(Devices, OfAFileThatIsWrongAreRefusedByName) {
  EXPECT_THAT(complaint("{"), HasSubstr("devices.json"));
  EXPECT_THAT(complaint("[]"), HasSubstr("'devices'"));
  EXPECT_THAT(complaint(R"({"devices": 7})"), HasSubstr("'devices'"));
  EXPECT_THAT(complaint(R"({"devices": [7]})"), HasSubstr("object"));
  EXPECT_THAT(complaint(R"({"devices": [{}]})"), HasSubstr("name"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x"}]})"), HasSubstr("memory_gib"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": 8}]})"), HasSubstr("bandwidth_gbps"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": 0.1, "bandwidth_gbps": 1}]})"),
              HasSubstr("0.5 GiB"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": -8}]})"), HasSubstr("positive"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": "8"}]})"), HasSubstr("positive"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": 1e300}]})"), HasSubstr("positive"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "bandwith_gbps": 8}]})"), HasSubstr("bandwith_gbps"));
  EXPECT_THAT(complaint(R"({"devices": [{"name": "x", "memory_gib": 8, "bandwidth_gbps": 1, "available": "soon"}]})"),
              HasSubstr("2024-11"));
}

TEST(Devices, OfThisMachineAreWhatWasMeasured) {
  MachineRecord record{.date = "2026-11-28"};
  record.set(MachineFigure::kDramRead, 40, 0);
  record.set(MachineFigure::kVnni, 4, 0);
  record.set(MachineFigure::kFp32, 0.5, 0);
  record.set(MachineFigure::kDiskRead, 1.2, 0);
  const Device device = this_machine(record, CpuPath::kAvx512, 16_GiB);
  EXPECT_EQ(device.bytes_per_second, 40e9);
  EXPECT_EQ(device.peak(PeakKind::kInt8), 4e12);
  EXPECT_EQ(device.peak(PeakKind::kBF16), 0.5e12);
  EXPECT_EQ(device.disk_bytes_per_second, 1.2e9);
  EXPECT_TRUE(device.measured);
}

TEST(Months, AreReadAndWritten) {
  EXPECT_EQ(month_text(*parse_month("2024-11")), "2024-11");
  EXPECT_EQ(*parse_month("2025-01") - *parse_month("2024-12"), 1);
  for (const char* wrong : {"", "2024", "2024-00", "2024-13", "24-11", "2024/11", "abcd-ef", "2024-1x", "2024-11-01"})
    EXPECT_FALSE(parse_month(wrong)) << wrong;
}

}  // namespace
}  // namespace jericho
