// When to hold less: the kernel says that the machine or our control group runs short, or the operator says so by a
// signal. Whoever owns caches asks between two steps and gives back (docs/memory.md#shrinking). Sources, each optional,
// since any may be switched off: SIGUSR1; PSI triggers on the group's memory.pressure, else on /proc/pressure/memory
// (psi.rst, "Monitoring for pressure thresholds"); cgroup v1's memory.pressure_level at "medium" (memory.txt, section
// 11). Start at take().
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace jericho {

// Thread-compatible.
class PressureWatch {
 public:
  // One reaction a second at most: what was given back needs a moment to be felt.
  static constexpr std::chrono::milliseconds kPause{1000};

  // Files below `root`, which tests replace. SIGUSR1 must be blocked in every thread. What cannot be watched is left
  // out.
  explicit PressureWatch(const std::filesystem::path& root = "/");
  ~PressureWatch();
  PressureWatch(const PressureWatch&) = delete;
  PressureWatch& operator=(const PressureWatch&) = delete;

  // Who asked for less since the last call: "SIGUSR1", the file of the kernel's; empty when nobody did, which costs one
  // poll(2). The signal is always heard, the kernel only when kPause has gone by.
  [[nodiscard]] std::string take();
  [[nodiscard]] std::vector<std::string> sources() const;  // that are watched

 private:
  enum class Kind { kSignal, kPsi, kGroupV1 };
  struct Source {
    Kind kind{};
    std::string name{};
    int fd = -1;
    int level = -1;  // memory.pressure_level, open as long as its events are wanted
  };
  void watch_signal();
  void watch_psi(const std::filesystem::path& file);
  void watch_group_v1(const std::filesystem::path& folder);

  std::vector<Source> sources_;
  std::chrono::steady_clock::time_point last_{};  // that the kernel was heard
};

}  // namespace jericho
