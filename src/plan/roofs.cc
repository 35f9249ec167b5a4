// Timing the loops of kernels/peak_loops.h: see roofs.h.
#include "plan/roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "base/error.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPasses = 7;

// Seconds of one call of body(part) for each of `threads` threads, all at once.
double time_on(const Context& context, int threads, const std::function<void(Index part)>& body) {
  const auto part = [&](Index p, int) { body(p); };
  const auto start = Clock::now();
  context.pool.run(threads, std::ref(part));
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The best of the rates, and how far below it the middle one is.
std::pair<double, double> best_and_spread(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  const double best = rates.back();
  return {best, best > 0 ? (best - rates[rates.size() / 2]) / best : 0};
}

double scale_of(const std::string& unit) { return unit == "GB/s" ? 1e9 : 1e12; }

}  // namespace

Roof measure_read(const Context& context, std::span<const std::byte> bytes, const ReadMeasurement& how,
                  const std::stop_token& stop) {
  constexpr std::size_t kUnit = 4096;
  constexpr std::size_t kBeyondCaches = std::size_t{256} << 20;
  const int threads = how.threads > 0 ? how.threads : context.pool.threads();
  const std::size_t share = bytes.size() / static_cast<std::size_t>(threads) / kUnit * kUnit;
  Roof roof{.name = bytes.size() >= kBeyondCaches ? "dram_read" : "cache_read", .unit = "GB/s"};
  if (share == 0) return roof;
  const CpuPath path = context.kernels.path;
  std::atomic<std::uint64_t> sink{0};
  const auto seconds = [&](ReadPattern pattern, Index times) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
    return time_on(context, threads, [&](Index part) {
      const auto own = bytes.subspan(static_cast<std::size_t>(part) * share, share);
      for (Index i = 0; i < times; ++i) sink ^= read_all(path, own, pattern);
    });
  };
  const std::span<const ReadPattern> patterns = read_patterns(path);
  seconds(patterns.front(), 1);  // warms caches, page tables and clocks
  const auto times = std::max<Index>(1, std::llround(std::ceil(how.pass_seconds / seconds(patterns.front(), 1))));
  const double read = static_cast<double>(share) * threads * static_cast<double>(times);
  ReadPattern best = patterns.front();
  std::vector<double> first_round, rates;
  for (const ReadPattern pattern : patterns) {
    first_round.push_back(read / seconds(pattern, times));
    if (first_round.back() == *std::max_element(first_round.begin(), first_round.end())) best = pattern;
  }
  for (int pass = 0; pass < how.passes; ++pass) rates.push_back(read / seconds(best, times));
  const auto [value, spread] = best_and_spread(rates);
  roof.value = std::max(value, *std::max_element(first_round.begin(), first_round.end())) / 1e9;
  roof.spread = spread;
  return roof;
}

Roof measure_multiply(const Context& context, PeakKind kind, CpuPath path) {
  constexpr double kPassSeconds = 0.03;
  const auto run = [&](Index rounds) {
    std::atomic<double> operations{0};
    const double seconds =
        time_on(context, context.pool.threads(), [&](Index) { operations += multiply(path, kind, rounds); });
    return std::pair(seconds, operations.load() / seconds);
  };
  // The quickest of a few: one pass that another process held up must not end the search with a pass that is all
  // overhead.
  const auto quickest = [&](Index rounds) {
    double seconds = run(rounds).first;
    for (int again = 0; again < 4 && seconds >= kPassSeconds; ++again) seconds = std::min(seconds, run(rounds).first);
    return seconds;
  };
  Index rounds = 1000;
  while (quickest(rounds) < kPassSeconds) rounds *= 2;
  std::vector<double> rates;
  for (int pass = 0; pass < kPasses; ++pass) rates.push_back(run(rounds).second);
  const auto [best, spread] = best_and_spread(rates);
  return {std::string(name(kind, path)), best / 1e12, "TOP/s", spread};
}

std::optional<Held> hold(std::span<const Demand> demands) {
  std::optional<Held> held;
  for (const Demand& demand : demands) {
    if (!(demand.roof.value > 0) || !(demand.per_second > 0)) continue;
    const double fraction = demand.per_second / (demand.roof.value * scale_of(demand.roof.unit));
    if (!held || fraction > held->fraction) held = Held{demand.roof, fraction};
  }
  return held;
}

}  // namespace jericho
