// How near is a matrix product to the memory (decode: one token) and to the arithmetic (prefill: 256 tokens), per path
// and weight type? One thread. Decode walks 64 MiB of weights, more than most caches hold; prefill uses one K = N =
// 2048 matrix. GB/s counts the bytes of the weights, GOP/s two operations per weight and token; the roof is reading as
// many bytes or multiplying from registers, whichever is nearer.
#include <benchmark/benchmark.h>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
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
  report_work(state, path, static_cast<double>((strip * strips).count), multiplied_by(dtype),
              2 * static_cast<double>(rows * kCols * tokens));
}

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
