// For benchmarks only: what one thread can do at most, measured once in the process, and the counters that hold a
// kernel against it: "GB/s", "GOP/s", and "of_roof", the part of the roof. Start at report_bytes(), report_operations()
// and report_work().
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include "kernels/peak_loops.h"

namespace jericho {

// Of `rate()`, the best of some calls.
template <class Rate>
double best_rate(Rate rate) {
  double best = 0;
  for (int pass = 0; pass < 9; ++pass) best = std::max(best, rate());
  return best;
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes per second of reading as many bytes again and again, in the best of the patterns: of whichever cache holds
// them.
inline double read_roof(CpuPath path, std::size_t bytes) {
  static std::map<std::pair<CpuPath, std::size_t>, double> known;
  bytes = std::max<std::size_t>(bytes / 4096, 1) * 4096;
  double& roof = known[{path, bytes}];
  if (roof > 0) return roof;
  std::vector<std::byte> block(bytes + 64);
  const auto skipped = (64 - reinterpret_cast<std::uintptr_t>(block.data()) % 64) % 64;
  const std::span<const std::byte> aligned = std::span(block).subspan(skipped, bytes);
  const std::size_t times = std::max<std::size_t>((std::size_t{32} << 20) / bytes, 1);
  for (const ReadPattern pattern : read_patterns(path)) {
    roof = std::max(roof, best_rate([&] {
                      const auto start = std::chrono::steady_clock::now();
                      for (std::size_t i = 0; i < times; ++i)
                        benchmark::DoNotOptimize(read_all(path, aligned, pattern));
                      return static_cast<double>(bytes * times) / seconds_since(start);
                    }));
  }
  return roof;
}

inline double multiply_roof(CpuPath path, PeakKind kind) {
  static std::map<std::pair<CpuPath, PeakKind>, double> known;
  double& roof = known[{path, kind}];
  if (roof > 0) return roof;
  return roof = best_rate([&] {
           const auto start = std::chrono::steady_clock::now();
           const double operations = multiply(path, kind, 200'000);
           return operations / seconds_since(start);
         });
}

inline void report_rate(benchmark::State& state, const char* name, double each) {
  state.counters[name] =
      benchmark::Counter(static_cast<double>(state.iterations()) * each, benchmark::Counter::kIsRate);
}

// Each iteration read and wrote `bytes`: of whichever cache holds so many, else of memory.
inline void report_bytes(benchmark::State& state, CpuPath path, double bytes) {
  report_rate(state, "GB/s", bytes * 1e-9);
  report_rate(state, "of_roof", bytes / read_roof(path, static_cast<std::size_t>(bytes)));
}

// Each iteration did `operations` of this kind.
inline void report_operations(benchmark::State& state, CpuPath path, PeakKind kind, double operations) {
  report_rate(state, "GOP/s", operations * 1e-9);
  report_rate(state, "of_roof", operations / multiply_roof(path, kind));
}

// Each iteration did both: the roof is the one that is nearer.
inline void report_work(benchmark::State& state, CpuPath path, double bytes, PeakKind kind, double operations) {
  report_rate(state, "GB/s", bytes * 1e-9);
  report_rate(state, "GOP/s", operations * 1e-9);
  report_rate(
      state, "of_roof",
      std::max(bytes / read_roof(path, static_cast<std::size_t>(bytes)), operations / multiply_roof(path, kind)));
}

}  // namespace jericho
