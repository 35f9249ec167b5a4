// What a machine offers: memory, bandwidth, arithmetic, and what it costs. Known ones come with the program as data
// (devices.json), which a file of the user's may extend or correct; the machine here is described by what was measured
// of it. Start at DeviceList.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/cpu.h"
#include "kernels/peak_loops.h"
#include "plan/machine_record.h"

namespace jericho {

struct Device {
  std::string name{};             // "h200", as flags spell it
  std::string label{};            // "H200 SXM"
  Bytes memory{};                 // that weights, caches and activations may take
  double bytes_per_second = 0;    // of that memory
  std::array<double, 3> peaks{};  // operations per second by PeakKind; 0: not known
  double peak_8bit = 0;           // where it can be asked for, 8-bit weights and activations; 0: not known
  std::string arithmetic{};       // what the peaks are of: "16 bit", "fp32", "vnni"
  std::optional<double> disk_bytes_per_second{};
  std::optional<double> watts{};         // at work, as the maker says
  std::optional<double> usd{};           // to buy
  std::optional<double> usd_per_hour{};  // to rent
  std::string available{};               // "2024-11": since when; empty: not known
  std::string source{};                  // of the figures
  bool measured = false;                 // else the maker's figures, which nothing reaches

  [[nodiscard]] double peak(PeakKind kind) const { return peaks[static_cast<std::size_t>(kind)]; }
  // Operations per byte at which reading and multiplying take equally long.
  [[nodiscard]] double ridge(PeakKind kind = PeakKind::kBF16) const {
    return bytes_per_second > 0 ? peak(kind) / bytes_per_second : 0;
  }
  [[nodiscard]] Device times(double cards) const;  // so many of them, split without loss
};

// What a device has of its label for a program: cards report a little less, and keep some for themselves.
inline constexpr double kReportedShare = 0.98;
inline constexpr Bytes kDeviceContext = 512_MiB;

class DeviceList {
 public:
  static DeviceList built_in();

  // Adds the devices of a text like devices.json; one whose name is known replaces the fields that it gives.
  // Error(kInput) names `what`, the device and the field.
  void merge(std::string_view text, std::string_view what);
  void merge_file(const std::filesystem::path& file);

  [[nodiscard]] const std::vector<Device>& all() const { return devices_; }
  // Error(kUsage) naming those there are.
  [[nodiscard]] const Device& named(std::string_view name) const;

 private:
  std::vector<Device> devices_;
};

// One object of a devices file, over what is known of a device by that name. Error(kInput) as DeviceList::merge().
Device parse_device(const nlohmann::json& object, const Device* known, std::string_view what);

// This machine, by its own figures; speeds of arithmetic as the kernels of `path` use it. Its memory is `memory`.
Device this_machine(const MachineRecord& record, CpuPath path, Bytes memory);

// "2024-11" as months since year 0. Nothing for anything else.
std::optional<int> parse_month(std::string_view text);
std::string month_text(int month);

}  // namespace jericho
