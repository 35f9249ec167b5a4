// How fast are the kernels of state space layers, per path? 16 rows on one thread. The convolution and the time steps
// move bytes (GB/s, read and written once); the scans compute (GOP/s, six operations per row, channel and state: the
// decay's product, the input's, the sum, and the product and sum of the output, and an exponential counted as one).
#include <benchmark/benchmark.h>

#include <string>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/kernels.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

constexpr Index kRows = 16;

void convolution(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  constexpr Index kC = 4096;
  constexpr Index kKernel = 4;
  const std::vector<float> weight = random_row(kC * kKernel, 1), bias = random_row(kC, 2);
  std::vector<float> x = random_row(kRows * kC, 3), history((kKernel - 1) * kC);
  for (auto _ : state) {
    kernels_for(path).causal_conv1d({weight.data(), bias.data(), kKernel},
                                    {DType::kF32, reinterpret_cast<std::byte*>(history.data()), kC},
                                    {x.data(), kRows, kC});
    benchmark::DoNotOptimize(x.data());
  }
  report_bytes(state, path, static_cast<double>(2 * (kRows + kKernel - 1) * kC + (kKernel + 1) * kC) * 4);
}

void time_steps(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  constexpr Index kC = 4096;
  const std::vector<float> bias = random_row(kC, 1);
  std::vector<float> dt = random_row(kRows * kC, 2);
  for (auto _ : state) {
    kernels_for(path).time_steps(bias.data(), 0.001f, 0.1f, {dt.data(), kRows, kC});
    benchmark::DoNotOptimize(dt.data());
  }
  report_bytes(state, path, static_cast<double>(2 * kRows * kC + kC) * 4);
}

enum class Family { kMamba, kMamba2 };

void scan(benchmark::State& state, CpuPath path, Family family) {
  flush_subnormals();
  const Index channels = family == Family::kMamba ? 1024 : 64;  // of one head
  const Index states = family == Family::kMamba ? 16 : 128;
  const Index steps = family == Family::kMamba ? channels : 1;
  const std::vector<float> dt(static_cast<std::size_t>(kRows * steps), 0.01f);
  const std::vector<float> a(static_cast<std::size_t>(family == Family::kMamba ? channels * states : 1), -1.0f);
  const std::vector<float> d(static_cast<std::size_t>(channels), 0.5f);
  const std::vector<float> b = random_row(kRows * states, 1), c = random_row(kRows * states, 2);
  std::vector<float> x = random_row(kRows * channels, 3), h(static_cast<std::size_t>(channels * states));
  const SelectiveScan what = {
      {dt.data(), kRows, steps}, {b.data(), kRows, states}, {c.data(), kRows, states}, a.data(), d.data()};
  const std::vector<float> input = x;
  const Kernels& kernels = kernels_for(path);
  const auto run = family == Family::kMamba ? kernels.mamba_scan : kernels.mamba2_scan;
  for (auto _ : state) {
    std::copy(input.begin(), input.end(), x.begin());  // in place, and not to grow from call to call
    run(what, h.data(), {x.data(), kRows, channels});
    benchmark::DoNotOptimize(x.data());
  }
  report_operations(state, path, PeakKind::kF32, 6.0 * static_cast<double>(kRows * channels * states));
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar || path == CpuPath::kAmx) continue;  // amx takes the kernels of avx512
    const auto add = [&](const char* what, auto body) {
      benchmark::RegisterBenchmark((std::string(what) + "/" + std::string(name(path))).c_str(), body);
    };
    add("causal_conv1d", [=](benchmark::State& state) { convolution(state, path); });
    add("time_steps", [=](benchmark::State& state) { time_steps(state, path); });
    add("mamba_scan", [=](benchmark::State& state) { scan(state, path, Family::kMamba); });
    add("mamba2_scan", [=](benchmark::State& state) { scan(state, path, Family::kMamba2); });
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
