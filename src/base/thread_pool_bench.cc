// What does one run of the pool cost? `empty` has parts without work, which the caller may well take all by itself;
// `shared` has as many parts as threads and each takes 4 microseconds, so that the time beyond them is what handing
// work to others costs; `woken` pauses first for longer than workers spin. `of_roof` is the part of the time that is
// work.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/thread_pool.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::nanoseconds kWork{4000};

void work() {
  const auto end = Clock::now() + kWork;
  while (Clock::now() < end) {
  }
}

void report(benchmark::State& state) {
  const double worked = std::chrono::duration<double>(kWork).count() * static_cast<double>(state.iterations());
  state.counters["of_roof"] = benchmark::Counter(worked, benchmark::Counter::kIsRate);
}

void empty(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.run(state.range(1), [](Index part, int) { benchmark::DoNotOptimize(part); });
}
BENCHMARK(empty)->ArgNames({"threads", "parts"})->Args({1, 8})->Args({2, 2})->Args({2, 8})->Args({4, 8})->UseRealTime();

void shared(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.run(state.range(0), [](Index, int) { work(); });
  report(state);
}
BENCHMARK(shared)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

void woken(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto start = Clock::now();
    pool.run(state.range(0), [](Index, int) { work(); });
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
  }
  report(state);
}
BENCHMARK(woken)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Iterations(500);

}  // namespace
}  // namespace jericho
