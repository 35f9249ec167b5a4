// Devices from data and from measurements: see device.h.
#include "audit/device.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "audit/devices_json.h"
#include "audit/json_fields.h"
#include "base/error.h"
#include "formats/json_file.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

Bytes usable(double label_bytes) {
  const double left = label_bytes - static_cast<double>(kDeviceContext.count);
  return {static_cast<std::int64_t>(std::max(0.0, left))};
}

void read_memory(const JsonFields& fields, Device& device) {
  if (const auto gib = fields.positive("memory_gib")) device.memory = usable(*gib * kReportedShare * 0x1p30);
  if (const auto mib = fields.positive("reported_mib")) device.memory = usable(*mib * 0x1p20);
  if (const auto bytes = fields.positive("memory_bytes"))
    device.memory = {static_cast<std::int64_t>(std::min(*bytes, 0x1p62))};
}

void read_arithmetic(const JsonFields& fields, Device& device) {
  const auto fp32 = fields.positive("fp32_tflops"), bf16 = fields.positive("bf16_tflops");
  if (fp32 && device.arithmetic != "16 bit") device.peaks.fill(*fp32 * 1e12), device.arithmetic = "fp32";
  if (bf16) device.peaks.fill(*bf16 * 1e12), device.arithmetic = "16 bit";
  if (const auto int8 = fields.positive("int8_tops")) device.peak_8bit = *int8 * 1e12;
}

}  // namespace

Device Device::times(double cards) const {
  Device many = *this;
  many.memory = {static_cast<std::int64_t>(static_cast<double>(memory.count) * cards)};
  many.bytes_per_second *= cards;
  for (double& peak : many.peaks) peak *= cards;
  many.peak_8bit *= cards;
  for (auto* cost : {&many.watts, &many.usd, &many.usd_per_hour}) {
    if (*cost) **cost *= cards;
  }
  return many;
}

DeviceList DeviceList::built_in() {
  DeviceList list;
  list.merge(kDevicesJson, "the built-in devices");
  return list;
}

void DeviceList::merge(std::string_view text, std::string_view what) {
  const Json json = parse_json(text, what);
  const auto devices = json.is_object() ? json.find("devices") : json.end();
  if (!json.is_object() || devices == json.end() || !devices->is_array())
    throw Error(ErrorKind::kInput, fmt::format("{}: expected an object with a list 'devices'", what));
  for (const Json& object : *devices) {
    const auto name = object.is_object() && object.contains("name") && object["name"].is_string()
                          ? object["name"].get<std::string>()
                          : std::string();
    const auto known = std::find_if(devices_.begin(), devices_.end(), [&](const Device& d) { return d.name == name; });
    Device device = parse_device(object, known == devices_.end() ? nullptr : &*known, what);
    if (known == devices_.end()) {
      devices_.push_back(std::move(device));
    } else {
      *known = std::move(device);
    }
  }
}

void DeviceList::merge_file(const std::filesystem::path& file) { merge(read_json_file(file).dump(), file.string()); }

const Device& DeviceList::named(std::string_view name) const {
  const auto found = std::find_if(devices_.begin(), devices_.end(), [&](const Device& d) { return d.name == name; });
  if (found != devices_.end()) return *found;
  std::vector<std::string> names;
  for (const Device& device : devices_) names.push_back(device.name);
  throw Error(ErrorKind::kUsage, fmt::format("device '{}' is not known; there are {}; --devices FILE adds more", name,
                                             fmt::join(names, ", ")));
}

Device parse_device(const Json& object, const Device* known, std::string_view what) {
  const auto name = JsonFields(object, fmt::format("{}: devices", what)).text("name");
  const JsonFields fields(object, fmt::format("{}: device '{}'", what, name.value_or("?")));
  if (!name || name->empty() || name->size() > 64) fields.fail("name", "a short text");
  fields.only({"name", "label", "memory_gib", "reported_mib", "memory_bytes", "bandwidth_gbps", "bf16_tflops",
               "fp32_tflops", "int8_tops", "disk_gbps", "watts", "usd", "usd_per_hour", "available", "source"});
  Device device = known != nullptr ? *known : Device{.name = *name, .label = *name};
  if (const auto label = fields.text("label")) device.label = *label;
  read_memory(fields, device);
  if (const auto gbps = fields.positive("bandwidth_gbps")) device.bytes_per_second = *gbps * 1e9;
  read_arithmetic(fields, device);
  if (const auto disk = fields.positive("disk_gbps")) device.disk_bytes_per_second = *disk * 1e9;
  if (const auto watts = fields.positive("watts")) device.watts = watts;
  if (const auto usd = fields.positive("usd")) device.usd = usd;
  if (const auto usd = fields.positive("usd_per_hour")) device.usd_per_hour = usd;
  if (const auto month = fields.month("available")) device.available = month_text(*month);
  if (const auto source = fields.text("source")) device.source = *source;
  if (device.memory <= Bytes{}) fields.fail("memory_gib", "more than the 0.5 GiB that a device keeps");
  if (device.bytes_per_second <= 0) fields.fail("bandwidth_gbps", "a positive number");
  return device;
}

Device this_machine(const MachineRecord& record, CpuPath path, Bytes memory) {
  Device device{.name = "this", .label = record.identity.cpu.model, .memory = memory};
  const auto value = [&](const std::optional<Roof>& roof, double unit) { return roof ? roof->value * unit : 0; };
  device.bytes_per_second = value(record[MachineFigure::kDramRead], 1e9);
  for (const PeakKind kind : {PeakKind::kInt8, PeakKind::kBF16, PeakKind::kF32})
    device.peaks[static_cast<std::size_t>(kind)] = value(record.multiply_roof(kind, path), 1e12);
  device.peak_8bit = device.peak(PeakKind::kInt8);
  if (const auto& roof = record.multiply_roof(PeakKind::kInt8, path)) device.arithmetic = roof->name;
  if (const auto& disk = record[MachineFigure::kDiskRead]) device.disk_bytes_per_second = disk->value * 1e9;
  device.available = record.date.substr(0, 7);
  device.source = fmt::format("measured here on {}{}", record.date, record.quick ? ", roughly" : "");
  device.measured = true;
  return device;
}

std::optional<int> parse_month(std::string_view text) {
  const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : -10000; };
  if (text.size() != 7 || text[4] != '-') return std::nullopt;
  const int year = 1000 * digit(0) + 100 * digit(1) + 10 * digit(2) + digit(3);
  const int month = 10 * digit(5) + digit(6);
  if (year < 1900 || month < 1 || month > 12) return std::nullopt;
  return 12 * year + month - 1;
}

std::string month_text(int month) { return fmt::format("{:04}-{:02}", month / 12, month % 12 + 1); }

}  // namespace jericho
