// How near is a matrix product to the memory (decode: one token) and to the arithmetic (prefill: 256 tokens), per path
// and weight type? One thread. Decode walks 64 MiB of weights, more than the caches hold; prefill uses one K = N = 2048
// matrix. GB/s counts the bytes of the weights, GOP/s two operations per weight and token.
#include <benchmark/benchmark.h>

#include "base/cpu.h"
#include "kernels/matmul_cases.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

void run(benchmark::State& state, CpuPath path, DType dtype, Index rows, Index tokens) {
  flush_subnormals();
  constexpr Index kCols = 2048;
  const CaseMatrix w(dtype, 16, kCols, 1);  // one strip, repeated: the contents do not matter
  const Index strips = rows / kStripRows;
  const Bytes strip = strip_bytes(dtype, kCols);
  std::vector<std::byte> bytes((strip * strips).size() + 64);
  std::byte* data = bytes.data();
  while (reinterpret_cast<std::uintptr_t>(data) % 64 != 0) ++data;
  for (Index s = 0; s < strips; ++s) std::memcpy(data + (strip * s).count, w.view.data, strip.size());
  const PackedMatrix matrix{dtype, rows, kCols, default_unit(dtype), data};
  const CaseActivations x(dtype, random_row(tokens * kCols, 2), tokens, kCols);
  std::vector<float> y(static_cast<std::size_t>(tokens * rows));
  for (auto _ : state) {
    kernels_for(path).matmul(matrix, x.view, nullptr, 0, strips, {y.data(), tokens, rows});
    benchmark::DoNotOptimize(y.data());
  }
  const double calls = static_cast<double>(state.iterations());
  state.counters["GB/s"] =
      benchmark::Counter(calls * static_cast<double>((strip * strips).count) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GOP/s"] = benchmark::Counter(
      calls * 2 * static_cast<double>(rows * kCols) * static_cast<double>(tokens) * 1e-9, benchmark::Counter::kIsRate);
}

// The roof of decode: reading as many bytes and doing next to nothing.
void read_memory(benchmark::State& state) {
  const std::vector<std::uint64_t> words((64 << 20) / 8, 1);
  for (auto _ : state) {
    std::uint64_t sum[8] = {};
    for (std::size_t i = 0; i < words.size(); i += 8) {
      for (std::size_t j = 0; j < 8; ++j) sum[j] += words[i + j];
    }
    benchmark::DoNotOptimize(sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7]);
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * (64 << 20) * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(read_memory);

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar) continue;  // the reference is not meant to be fast
    for (const DType dtype : kPackableTypes) {
      const Index rows = (64_MiB).count / storage_bytes(dtype, 2048).count / kStripRows * kStripRows;
      const std::string suffix = std::string(name(path)) + "/" + std::string(name(dtype));
      benchmark::RegisterBenchmark(("decode/" + suffix).c_str(),
                                   [=](benchmark::State& state) { run(state, path, dtype, rows, 1); });
      benchmark::RegisterBenchmark(("batch4/" + suffix).c_str(),
                                   [=](benchmark::State& state) { run(state, path, dtype, rows, 4); });
      benchmark::RegisterBenchmark(("prefill/" + suffix).c_str(),
                                   [=](benchmark::State& state) { run(state, path, dtype, 2048, 256); });
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
