// What was measured of this machine, kept as JSON from one run to the next, with whose figures they are. Start at
// MachineRecord. plan/measure_machine.h fills it; docs/benchmarks.md says what the figures mean.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/cpu_identity.h"
#include "plan/roofs.h"

namespace jericho {

enum class MachineFigure {
  kDramRead,         // all threads together
  kDramReadPerCore,  // one thread alone
  kL2Read,           // all threads together, each in its own
  kL3Read,           // all threads together
  kDiskRead,
  kDiskWrite,
  kFp32,
  kAvx2Madd,
  kVnni,
  kAmxInt8,
  kAmxBf16,
  kAvx512Bf16,
};
inline constexpr std::size_t kMachineFigures = 12;

std::string_view key(MachineFigure figure);   // in JSON: "dram_read_gbps"
std::string_view name(MachineFigure figure);  // of its roof: "dram_read"
std::string_view unit(MachineFigure figure);  // "GB/s", "TOP/s"

struct MachineIdentity {
  CpuIdentity cpu{};
  Bytes memory{};      // of the machine, whatever a control group leaves of it
  int threads = 0;     // that measured
  std::string path{};  // of the kernels: "avx512"

  // What differs, for people; nothing when the figures of one hold for the other. Memory may differ by a sixteenth:
  // what the kernel takes for itself varies.
  [[nodiscard]] std::optional<std::string> difference(const MachineIdentity& now) const;
};

MachineIdentity machine_identity(int threads, CpuPath path);

struct MachineRecord {
  MachineIdentity identity{};
  std::array<std::optional<Roof>, kMachineFigures> roofs{};  // nothing: not here, or not measured
  Bytes dram_array{};                                        // read for the figures of DRAM, of all threads
  Bytes disk_file{};                                         // written and read for those of the disk
  std::vector<std::string> notes{};                          // what a reader of the figures should know
  bool quick = false;
  std::string date{};  // "2026-11-28", UTC

  [[nodiscard]] const std::optional<Roof>& operator[](MachineFigure figure) const {
    return roofs[static_cast<std::size_t>(figure)];
  }
  void set(MachineFigure figure, double value, double spread);

  // Of the operations of `kind` on `path`: the roof of what its kernels multiply with.
  [[nodiscard]] const std::optional<Roof>& multiply_roof(PeakKind kind, CpuPath path) const;
};

// Every figure's key, null where there is none; "spread", "identity", "dram_array_bytes", "disk_file_bytes", "notes",
// "quick", "date", "version".
nlohmann::json to_json(const MachineRecord& record);

// The record that was kept. Error(kInput) names what is not as to_json() writes it.
MachineRecord parse_machine_record(std::string_view text, std::string_view what);

}  // namespace jericho
