// What the machine can do at most, measured (Williams, Waterman, Patterson 2009, "Roofline"): a speed that matters is a
// fraction of one of these. Start at measure_read() and measure_multiply(); hold() makes the fraction.
#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "base/bytes.h"
#include "kernels/peak_loops.h"
#include "ops/context.h"

namespace jericho {

struct Roof {
  std::string name{};  // "dram_read", "amx_int8"
  double value = 0;    // in `unit`, the best of several passes
  std::string unit{};  // "GB/s", "TOP/s": powers of ten
  double spread = 0;   // how far below the best the middle pass was, as a part of it
};

struct ReadMeasurement {
  int threads = 0;          // 0: all of the pool
  double pass_seconds = 0;  // a pass reads the bytes again and again for as long; 0: once
  int passes = 7;           // of the best pattern
};

// The best of several passes over `bytes` by the threads, each reading its own contiguous share in the pattern that did
// best in a first round of all. Named "dram_read" from 256 MiB on, more than the last-level caches of most machines
// hold, else "cache_read". Error(kInterrupted) on a stop request.
Roof measure_read(const Context& context, std::span<const std::byte> bytes, const ReadMeasurement& how = {},
                  const std::stop_token& stop = {});

// The best of several rounds of register-only products by all threads on `path`, which has_units() of the kind or does
// its work on others.
Roof measure_multiply(const Context& context, PeakKind kind, CpuPath path);

// What was reached of a roof: `demand` bytes or operations per second, of which the roof is the most.
struct Demand {
  Roof roof{};
  double per_second = 0;
};
struct Held {
  Roof roof{};
  double fraction = 0;
};

// Of several roofs the work is bounded by the one that would take longest for it: the one it has the largest part of.
// Nothing without a roof or a speed.
std::optional<Held> hold(std::span<const Demand> demands);

}  // namespace jericho
