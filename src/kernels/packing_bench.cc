// How fast is a weight packed while it is read, and rounded while it is converted, per type? One strip of 16 rows of 4096,
// and one row of 4096, in the caches, on one thread. GB/s counts what is read and written once; the roof is reading as many
// bytes.
#include <benchmark/benchmark.h>

#include <string>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/matmul_cases.h"
#include "kernels/packed_matrix.h"
#include "kernels/quantize_rows.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

constexpr Index kCols = 4096;

void pack(benchmark::State& state, DType dtype) {
  const Bytes row = storage_bytes(dtype, kCols);
  const Bytes strip = strip_bytes(dtype, kCols);
  const std::vector<std::byte> rows((row * kStripRows).size(), std::byte{0x35});
  std::vector<std::byte> packed(strip.size() + 64);
  std::byte* out = packed.data() + (64 - reinterpret_cast<std::uintptr_t>(packed.data()) % 64) % 64;
  for (auto _ : state) {
    pack_strip(dtype, kCols, rows.data(), row, kStripRows, out);
    benchmark::DoNotOptimize(out);
  }
  report_bytes(state, usable_cpu_paths().back(), static_cast<double>((row * kStripRows + strip).count));
}

void quantize(benchmark::State& state, DType dtype) {
  flush_subnormals();
  const std::vector<float> x = random_row(kCols, 1);
  std::vector<std::byte> row(storage_bytes(dtype, kCols).size());
  for (auto _ : state) {
    quantize_row(dtype, x.data(), kCols, row.data());
    benchmark::DoNotOptimize(row.data());
  }
  report_bytes(state, usable_cpu_paths().back(), static_cast<double>(kCols * 4) + static_cast<double>(row.size()));
}

void register_all() {
  for (const DType dtype : kPackableTypes) {
    const std::string type(name(dtype));
    benchmark::RegisterBenchmark(("pack/" + type).c_str(), [=](benchmark::State& state) { pack(state, dtype); });
    if (!is_quantizable(dtype)) continue;
    benchmark::RegisterBenchmark(("quantize/" + type).c_str(),
                                 [=](benchmark::State& state) { quantize(state, dtype); });
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
