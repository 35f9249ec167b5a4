// How fast do weights go from the form of a file into that of memory, and rows of floats into the form of a file, per
// path and type? One thread. A strip of 16 rows with 4096 columns, so that caches hold it: memory and disk have roofs
// of their own. GB/s counts the bytes of the file's rows; of quantize, those of the same values in BF16.
#include <benchmark/benchmark.h>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/file_rows.h"
#include "kernels/matmul_cases.h"
#include "kernels/quantize_rows.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

constexpr Index kCols = 4096;

void pack(benchmark::State& state, CpuPath path, DType dtype) {
  flush_subnormals();
  CaseMatrix w(dtype, kStripRows, kCols, 1);
  for (auto _ : state) {
    file_row_kernels_for(path).pack_strip(dtype, kCols, w.file.data(), w.row_bytes, kStripRows, w.bytes.data());
    benchmark::ClobberMemory();
  }
  report_bytes(state, path, static_cast<double>((w.row_bytes * kStripRows).count));
}

void dequantize(benchmark::State& state, CpuPath path, DType dtype) {
  flush_subnormals();
  const CaseMatrix w(dtype, 1, kCols, 1);
  std::vector<float> out(kCols);
  for (auto _ : state) {
    file_row_kernels_for(path).dequantize_file_row(dtype, kCols, w.file.data(), out.data());
    benchmark::ClobberMemory();
  }
  report_bytes(state, path, static_cast<double>(w.row_bytes.count));
}

void quantize(benchmark::State& state, CpuPath path, DType dtype) {
  flush_subnormals();
  const std::vector<float> x = random_row(kCols, 1);
  std::vector<std::byte> row(storage_bytes(dtype, kCols).size());
  for (auto _ : state) {
    file_row_kernels_for(path).quantize_row(dtype, x.data(), kCols, row.data());
    benchmark::ClobberMemory();
  }
  report_bytes(state, path, static_cast<double>(2 * kCols));
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kAmx) continue;  // has nothing of its own here
    for (const DType dtype : kPackableTypes) {
      const std::string suffix = std::string(name(path)) + "/" + std::string(name(dtype));
      const auto add = [&](const char* what, void (*body)(benchmark::State&, CpuPath, DType)) {
        benchmark::RegisterBenchmark((what + suffix).c_str(),
                                     [=](benchmark::State& state) { body(state, path, dtype); });
      };
      add("pack/", pack);
      add("dequantize/", dequantize);
      if (is_quantizable(dtype)) add("quantize/", quantize);
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
