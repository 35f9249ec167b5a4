// The record to JSON and back: see machine_record.h.
#include "plan/machine_record.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;  // of the form and of how the figures are measured: another one's are measured anew

struct FigureNames {
  std::string_view key, name, unit;
};
constexpr std::array<FigureNames, kMachineFigures> kNames = {{{"dram_read_gbps", "dram_read", "GB/s"},
                                                              {"dram_read_gbps_per_core", "dram_read_per_core", "GB/s"},
                                                              {"l2_read_gbps", "l2_read", "GB/s"},
                                                              {"l3_read_gbps", "l3_read", "GB/s"},
                                                              {"disk_read_gbps", "disk_read", "GB/s"},
                                                              {"disk_write_gbps", "disk_write", "GB/s"},
                                                              {"fp32_tflops", "fp32", "TOP/s"},
                                                              {"avx2_madd_tops", "avx2_madd", "TOP/s"},
                                                              {"vnni_tops", "vnni", "TOP/s"},
                                                              {"amx_int8_tops", "amx_int8", "TOP/s"},
                                                              {"amx_bf16_tflops", "amx_bf16", "TOP/s"},
                                                              {"avx512_bf16_tflops", "avx512_bf16", "TOP/s"}}};

const FigureNames& names(MachineFigure figure) { return kNames[static_cast<std::size_t>(figure)]; }

Json to_json(const MachineIdentity& identity) {
  const CacheSizes& caches = identity.cpu.caches;
  return {{"cpu", identity.cpu.model},          {"family", identity.cpu.family},
          {"model", identity.cpu.model_number}, {"stepping", identity.cpu.stepping},
          {"cores", identity.cpu.cores},        {"l1d_bytes", caches.l1d.count},
          {"l2_bytes", caches.l2.count},        {"l3_bytes", caches.l3.count},
          {"l3_threads", caches.l3_threads},    {"memory_bytes", identity.memory.count},
          {"threads", identity.threads},        {"path", identity.path}};
}

// Members of an object that came from outside.
class Reader {
 public:
  Reader(const Json& object, std::string_view what) : object_(object), what_(what) {
    if (!object.is_object()) fail("", "an object");
  }

  [[nodiscard]] const Json& at(const char* name, const char* expected, bool (Json::*is)() const noexcept) const {
    const auto found = object_.find(name);
    if (found == object_.end() || !((*found).*is)()) fail(name, expected);
    return *found;
  }
  [[nodiscard]] std::string text(const char* name) const { return at(name, "a text", &Json::is_string); }
  [[nodiscard]] std::int64_t count(const char* name, std::int64_t most = std::int64_t{1} << 60) const {
    const Json& value = at(name, "a whole number", &Json::is_number_integer);
    // Unsigned and too large for int64 turns negative here, and is refused as well.
    const auto number = value.get<std::int64_t>();
    if (number < 0 || number > most) fail(name, "a number from 0 on within its range");
    return number;
  }
  [[nodiscard]] int small(const char* name) const {
    return static_cast<int>(count(name, std::numeric_limits<int>::max()));
  }
  // Nothing for null.
  [[nodiscard]] std::optional<double> figure(const std::string& name, double least) const {
    const auto found = object_.find(name);
    if (found != object_.end() && found->is_null()) return std::nullopt;
    if (found == object_.end() || !found->is_number()) fail(name, "a number or null");
    const double value = *found;
    if (!std::isfinite(value) || value < least) fail(name, "a positive number");
    return value;
  }

 private:
  [[noreturn]] void fail(std::string_view name, std::string_view expected) const {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: {}: expected {}", what_, name.empty() ? "the record" : name, expected));
  }

  const Json& object_;
  std::string_view what_;
};

MachineIdentity parse_identity(const Json& json, std::string_view what) {
  const Reader in(json, what);
  return {.cpu = {.model = in.text("cpu"),
                  .family = in.small("family"),
                  .model_number = in.small("model"),
                  .stepping = in.small("stepping"),
                  .cores = in.small("cores"),
                  .caches = {.l1d = {in.count("l1d_bytes")},
                             .l2 = {in.count("l2_bytes")},
                             .l3 = {in.count("l3_bytes")},
                             .l3_threads = in.small("l3_threads")}},
          .memory = {in.count("memory_bytes")},
          .threads = in.small("threads"),
          .path = in.text("path")};
}

}  // namespace

std::string_view key(MachineFigure figure) { return names(figure).key; }
std::string_view name(MachineFigure figure) { return names(figure).name; }
std::string_view unit(MachineFigure figure) { return names(figure).unit; }

std::optional<std::string> MachineIdentity::difference(const MachineIdentity& now) const {
  const auto differ = [](std::string_view what, const auto& then, const auto& here) {
    return fmt::format("{} {} then, {} now", what, then, here);
  };
  if (cpu.model != now.cpu.model) return differ("processor", cpu.model, now.cpu.model);
  if (cpu.family != now.cpu.family || cpu.model_number != now.cpu.model_number || cpu.stepping != now.cpu.stepping) {
    return differ("family, model and stepping", fmt::format("{}.{}.{}", cpu.family, cpu.model_number, cpu.stepping),
                  fmt::format("{}.{}.{}", now.cpu.family, now.cpu.model_number, now.cpu.stepping));
  }
  if (cpu.cores != now.cpu.cores) return differ("cores", cpu.cores, now.cpu.cores);
  if (cpu.caches != now.cpu.caches) return "caches of other sizes";
  if (std::abs(memory.count - now.memory.count) > now.memory.count / 16)
    return differ("memory", format_bytes(memory), format_bytes(now.memory));
  if (threads != now.threads) return differ("threads", threads, now.threads);
  if (path != now.path) return differ("kernels", path, now.path);
  return std::nullopt;
}

MachineIdentity machine_identity(int threads, CpuPath path) {
  return {.cpu = cpu_identity(),
          .memory = {sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)},
          .threads = threads,
          .path = std::string(name(path))};
}

void MachineRecord::set(MachineFigure figure, double value, double spread) {
  roofs[static_cast<std::size_t>(figure)] = Roof{std::string(name(figure)), value, std::string(unit(figure)), spread};
}

const std::optional<Roof>& MachineRecord::multiply_roof(PeakKind kind, CpuPath path) const {
  const MachineRecord& self = *this;
  if (kind == PeakKind::kBF16Pairs) return self[MachineFigure::kAvx512Bf16];
  if (kind == PeakKind::kF32 || path == CpuPath::kScalar) return self[MachineFigure::kFp32];
  if (kind == PeakKind::kBF16) return self[path == CpuPath::kAmx ? MachineFigure::kAmxBf16 : MachineFigure::kFp32];
  return self[path == CpuPath::kAmx      ? MachineFigure::kAmxInt8
              : path == CpuPath::kAvx512 ? MachineFigure::kVnni
                                         : MachineFigure::kAvx2Madd];
}

Json to_json(const MachineRecord& record) {
  Json json = {{"version", kVersion},
               {"date", record.date},
               {"quick", record.quick},
               {"identity", to_json(record.identity)},
               {"dram_array_bytes", record.dram_array.count},
               {"disk_file_bytes", record.disk_file.count},
               {"spread", Json::object()},
               {"notes", record.notes}};
  for (std::size_t i = 0; i < kMachineFigures; ++i) {
    const std::string name(kNames[i].key);
    json[name] = record.roofs[i] ? Json(record.roofs[i]->value) : Json(nullptr);
    if (record.roofs[i]) json["spread"][name] = record.roofs[i]->spread;
  }
  return json;
}

MachineRecord parse_machine_record(std::string_view text, std::string_view what) {
  const Json json = parse_json(text, what);
  const Reader in(json, what);
  if (in.count("version") != kVersion) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: is of version {}, expected {}", what, in.count("version"), kVersion));
  }
  MachineRecord record{.identity = parse_identity(in.at("identity", "an object", &Json::is_object), what),
                       .dram_array = {in.count("dram_array_bytes")},
                       .disk_file = {in.count("disk_file_bytes")},
                       .quick = in.at("quick", "true or false", &Json::is_boolean),
                       .date = in.text("date")};
  const Reader spread(in.at("spread", "an object", &Json::is_object), what);
  for (std::size_t i = 0; i < kMachineFigures; ++i) {
    const std::string name(kNames[i].key);
    const auto value = in.figure(name, std::numeric_limits<double>::min());
    if (value) record.set(static_cast<MachineFigure>(i), *value, spread.figure(name, 0).value_or(0));
  }
  for (const Json& note : in.at("notes", "a list", &Json::is_array)) {
    if (!note.is_string()) throw Error(ErrorKind::kInput, fmt::format("{}: notes: expected texts", what));
    record.notes.push_back(note);
  }
  return record;
}

}  // namespace jericho
