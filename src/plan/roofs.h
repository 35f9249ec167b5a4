// What the machine can do at most, measured (Williams, Waterman, Patterson 2009, "Roofline"): a speed that matters is a
// fraction of one of these, taken in the same run. Start at measure_read() and measure_multiply().
#pragma once

#include <span>
#include <string>

#include "base/bytes.h"
#include "kernels/peak_loops.h"
#include "ops/context.h"

namespace jericho {

struct Roof {
  std::string name{};  // "dram_read", "amx_int8"
  double value = 0;    // in `unit`
  std::string unit{};  // "GB/s", "TOP/s": powers of ten
};

// The best of several passes of two read loops over `bytes` by all threads, each reading its own contiguous share. Named "dram_read"
// from 256 MiB on, more than the last-level caches of most machines hold, else "cache_read".
Roof measure_read(const Context& context, std::span<const std::byte> bytes);

// The best of several rounds of register-only products by all threads.
Roof measure_multiply(const Context& context, PeakKind kind);

}  // namespace jericho
