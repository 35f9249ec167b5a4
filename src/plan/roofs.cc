// Timing the loops of kernels/peak_loops.h: see roofs.h.
#include "plan/roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPasses = 7;

// Seconds of one call of body(part) for each thread, all at once.
double time_on_all(const Context& context, const std::function<void(Index part)>& body) {
  const auto part = [&](Index p, int) { body(p); };
  const auto start = Clock::now();
  context.pool.run(context.pool.threads(), std::ref(part));
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Roof measure_read(const Context& context, std::span<const std::byte> bytes) {
  constexpr std::size_t kUnit = 4096;
  const auto threads = static_cast<std::size_t>(context.pool.threads());
  const std::size_t share = bytes.size() / threads / kUnit * kUnit;
  std::atomic<std::uint64_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < 2 * kPasses && share > 0; ++pass) {
    const ReadStreams streams = pass % 2 == 0 ? ReadStreams::kOne : ReadStreams::kFour;
    const double seconds = time_on_all(context, [&](Index part) {
      sink ^= read_all(context.kernels.path, bytes.subspan(static_cast<std::size_t>(part) * share, share), streams);
    });
    best = std::max(best, static_cast<double>(share * threads) / seconds);
  }
  constexpr std::size_t kBeyondCaches = std::size_t{256} << 20;
  return {bytes.size() >= kBeyondCaches ? "dram_read" : "cache_read", best / 1e9, "GB/s"};
}

Roof measure_multiply(const Context& context, PeakKind kind) {
  constexpr double kPassSeconds = 0.03;
  const auto run = [&](Index rounds) {
    std::atomic<double> operations{0};
    const double seconds =
        time_on_all(context, [&](Index) { operations += multiply(context.kernels.path, kind, rounds); });
    return std::pair(seconds, operations.load() / seconds);
  };
  // The quickest of a few: one pass that another process held up must not end the search with a pass that is all overhead.
  const auto quickest = [&](Index rounds) {
    double seconds = run(rounds).first;
    for (int again = 0; again < 4 && seconds >= kPassSeconds; ++again) seconds = std::min(seconds, run(rounds).first);
    return seconds;
  };
  Index rounds = 1000;
  while (quickest(rounds) < kPassSeconds) rounds *= 2;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, run(rounds).second);
  return {std::string(name(kind, context.kernels.path)), best / 1e12, "TOP/s"};
}

}  // namespace jericho
