// A record comes back as it was kept, another machine's is told apart, and a damaged one is refused by name.
#include "plan/machine_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

MachineRecord record() {
  MachineRecord made{.identity = {.cpu = {.model = "Some Processor (R) 9000",
                                          .family = 26,
                                          .model_number = 2,
                                          .stepping = 1,
                                          .cores = 8,
                                          .caches = {.l1d = 48_KiB, .l2 = 1_MiB, .l3 = 32_MiB, .l3_threads = 16}},
                                  .memory = 24_GiB,
                                  .threads = 8,
                                  .path = "avx512"},
                     .dram_array = 2_GiB,
                     .disk_file = 1_GiB,
                     .notes = {"a note"},
                     .date = "2026-11-28"};
  made.set(MachineFigure::kDramRead, 40.5, 0.02);
  made.set(MachineFigure::kFp32, 0.41, 0);
  made.set(MachineFigure::kAvx2Madd, 0.3, 0);
  made.set(MachineFigure::kVnni, 1.7, 0.001);
  return made;
}

std::string complaint(const Json& json) {
  try {
    parse_machine_record(json.dump(), "a.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "no error";
}

TEST(MachineRecord, ComesBackAsItWasKept) {
  const MachineRecord kept = record();
  const MachineRecord back = parse_machine_record(to_json(kept).dump(), "a.json");
  EXPECT_EQ(to_json(back), to_json(kept));
  EXPECT_EQ(back.identity.difference(kept.identity), std::nullopt);
  EXPECT_DOUBLE_EQ(back[MachineFigure::kDramRead].value().value, 40.5);
  EXPECT_EQ(back[MachineFigure::kDramRead].value().unit, "GB/s");
}

TEST(MachineRecord, HasEveryPromisedKeyAndNullForWhatIsNotHere) {
  const Json json = to_json(record());
  for (const char* key : {"dram_read_gbps", "dram_read_gbps_per_core", "l2_read_gbps", "l3_read_gbps", "disk_read_gbps",
                          "disk_write_gbps", "fp32_tflops", "vnni_tops", "amx_int8_tops", "amx_bf16_tflops"}) {
    ASSERT_TRUE(json.contains(key)) << key;
  }
  EXPECT_DOUBLE_EQ(json["dram_read_gbps"], 40.5);
  EXPECT_TRUE(json["amx_int8_tops"].is_null());
  EXPECT_TRUE(json["disk_read_gbps"].is_null());
}

TEST(MachineRecord, OfAnotherMachineIsToldApart) {
  const MachineIdentity here = record().identity;
  const auto changed = [&](auto change) {
    MachineIdentity other = here;
    change(other);
    return here.difference(other).value_or("the same");
  };
  EXPECT_THAT(changed([](auto& m) { m.cpu.model = "Another"; }),
              HasSubstr("Some Processor (R) 9000 then, Another now"));
  EXPECT_THAT(changed([](auto& m) { m.cpu.stepping = 2; }), HasSubstr("26.2.1 then, 26.2.2 now"));
  EXPECT_THAT(changed([](auto& m) { m.cpu.family = 6; }), HasSubstr("family"));
  EXPECT_THAT(changed([](auto& m) { m.cpu.cores = 4; }), HasSubstr("cores 8 then, 4 now"));
  EXPECT_THAT(changed([](auto& m) { m.cpu.caches.l3 = 16_MiB; }), HasSubstr("caches"));
  EXPECT_THAT(changed([](auto& m) { m.memory = 48_GiB; }), HasSubstr("memory"));
  EXPECT_THAT(changed([](auto& m) { m.memory = 12_GiB; }), HasSubstr("memory"));
  EXPECT_THAT(changed([](auto& m) { m.threads = 4; }), HasSubstr("threads 8 then, 4 now"));
  EXPECT_THAT(changed([](auto& m) { m.path = "amx"; }), HasSubstr("kernels avx512 then, amx now"));
  EXPECT_EQ(changed([](auto& m) { m.memory = m.memory - 100_MiB; }), "the same");  // what the kernel takes varies
}

TEST(MachineRecord, ThatIsDamagedIsRefusedByName) {
  const Json good = to_json(record());
  for (const auto& [key, value] : good.items()) {
    Json bad = good;
    bad.erase(key);
    EXPECT_THAT(complaint(bad), ::testing::AllOf(HasSubstr("a.json"), HasSubstr(key)));
  }
  for (const auto& [key, value] : good["identity"].items()) {
    Json bad = good;
    bad["identity"][key] = Json::array();
    EXPECT_THAT(complaint(bad), ::testing::AllOf(HasSubstr("a.json"), HasSubstr(key)));
  }
}

TEST(MachineRecord, WithAFigureThatCanBeNoneIsRefused) {
  for (const Json& figure : {Json(0), Json(-1.5), Json("40"), Json(Json::object())}) {
    Json bad = to_json(record());
    bad["dram_read_gbps"] = figure;
    EXPECT_THAT(complaint(bad), HasSubstr("dram_read_gbps: expected")) << figure;
  }
  Json bad = to_json(record());
  bad["spread"]["dram_read_gbps"] = -1;
  EXPECT_THAT(complaint(bad), HasSubstr("dram_read_gbps: expected"));
  bad = to_json(record());
  bad["dram_array_bytes"] = -1;
  EXPECT_THAT(complaint(bad), HasSubstr("dram_array_bytes: expected"));
  bad = to_json(record());
  bad["identity"]["threads"] = 18446744073709551615u;
  EXPECT_THAT(complaint(bad), HasSubstr("threads: expected"));
}

TEST(MachineRecord, OfAnotherVersionIsRefused) {
  Json other = to_json(record());
  other["version"] = 99;
  EXPECT_THAT(complaint(other), HasSubstr("version 99"));
}

TEST(MachineRecord, ThatIsNoJsonIsRefused) {
  for (const char* text : {"", "{", "3", "[]", "null", "\xff\xfe"})
    EXPECT_THROW(parse_machine_record(text, "a.json"), Error) << text;
}

TEST(MachineRecord, GivesTheRoofOfWhatAPathMultipliesWith) {
  const MachineRecord r = record();
  const auto name = [&](PeakKind kind, CpuPath path) {
    const auto& roof = r.multiply_roof(kind, path);
    return roof ? roof->name : "none";
  };
  EXPECT_EQ(name(PeakKind::kInt8, CpuPath::kAvx512), "vnni");
  EXPECT_EQ(name(PeakKind::kInt8, CpuPath::kAvx2), "avx2_madd");
  EXPECT_EQ(name(PeakKind::kInt8, CpuPath::kScalar), "fp32");
  EXPECT_EQ(name(PeakKind::kInt8, CpuPath::kAmx), "none");     // not measured here
  EXPECT_EQ(name(PeakKind::kBF16, CpuPath::kAvx512), "fp32");  // its units do that work
  EXPECT_EQ(name(PeakKind::kF32, CpuPath::kAmx), "fp32");
}

}  // namespace
}  // namespace jericho
