// For benchmarks only: the bandwidth at which all threads of a pool read some bytes, each its share: the roof of ops
// that stream weights or keys and values.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>

#include "kernels/bench_roof.h"
#include "ops/context.h"

namespace jericho {

// Bytes per second, in the best of the patterns.
inline double all_threads_read(const Context& context, std::span<const std::byte> bytes) {
  const auto threads = static_cast<std::size_t>(context.pool.threads());
  const std::size_t share = bytes.size() / threads / 4096 * 4096;
  double best = 0;
  for (const ReadPattern pattern : read_patterns(context.kernels.path)) {
    best = std::max(best, best_rate([&] {
                      const auto start = std::chrono::steady_clock::now();
                      context.pool.run(context.pool.threads(), [&](Index part, int) {
                        const std::span own = bytes.subspan(static_cast<std::size_t>(part) * share, share);
                        benchmark::DoNotOptimize(read_all(context.kernels.path, own, pattern));
                      });
                      return static_cast<double>(share * threads) / seconds_since(start);
                    }));
  }
  return best;
}

}  // namespace jericho
