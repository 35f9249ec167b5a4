// How near do the kernels over rows come to moving their bytes through the caches, per path? 16 rows of 2048 on one
// thread. GB/s counts what is read and written once; the roof is reading as many bytes.
#include <benchmark/benchmark.h>

#include <functional>
#include <span>
#include <string>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/kernels.h"
#include "kernels/random_row.h"
#include "kernels/rope.h"

namespace jericho {
namespace {

constexpr Index kRows = 16;
constexpr Index kCols = 2048;
constexpr double kFloats = static_cast<double>(kRows * kCols) * 4;  // bytes of one matrix

void rms_norm(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> x = random_row(kRows * kCols, 1), weight = random_row(kCols, 2);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernels_for(path).rms_norm({x.data(), kRows, kCols}, weight, 1e-5f, {y.data(), kRows, kCols});
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 2 * kFloats);
}

void glu(benchmark::State& state, CpuPath path, Activation activation) {
  flush_subnormals();
  const std::vector<float> gate = random_row(kRows * kCols, 1), up = random_row(kRows * kCols, 2);
  std::vector<float> y(gate.size());
  for (auto _ : state) {
    kernels_for(path).glu(activation, {gate.data(), kRows, kCols}, {up.data(), kRows, kCols}, {y.data(), kRows, kCols});
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 3 * kFloats);
}

void quantize_q8(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> x = random_row(kRows * kCols, 1);
  std::vector<std::int8_t> codes(x.size());
  std::vector<float> scale(x.size() / 32), scaled_sum(x.size() / 32);
  std::vector<std::int32_t> half_sum(x.size() / 16);
  for (auto _ : state) {
    for (Index t = 0; t < kRows; ++t) {
      const Q8Row row = {codes.data() + t * kCols, scale.data() + t * kCols / 32, scaled_sum.data() + t * kCols / 32,
                         half_sum.data() + t * kCols / 16};
      kernels_for(path).quantize_q8(x.data() + t * kCols, kCols, kCols, 32, row);
    }
    benchmark::DoNotOptimize(codes.data());
  }
  report_bytes(state, path, kFloats * (1 + 1.0 / 4 + 2.0 / 32 + 1.0 / 16));
}

void round_bf16(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> x = random_row(kRows * kCols, 1);
  std::vector<BF16> y(x.size());
  for (auto _ : state) {
    for (Index t = 0; t < kRows; ++t)
      kernels_for(path).round_bf16(x.data() + t * kCols, kCols, kCols, y.data() + t * kCols);
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 1.5 * kFloats);
}

void soft_cap(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  std::vector<float> x = random_row(kRows * kCols, 1);
  for (auto _ : state) {
    kernels_for(path).soft_cap(30.0f, {x.data(), kRows, kCols});
    benchmark::DoNotOptimize(x.data());
  }
  report_bytes(state, path, 2 * kFloats);
}

// Plain code on every path: pairs half a head of 64 apart.
void rope_of_heads(benchmark::State& state) {
  flush_subnormals();
  constexpr Index kD = 64;
  std::vector<float> x = random_row(kRows * kCols, 1);
  const std::vector<float> cos = random_row(kD / 2, 2), sin = random_row(kD / 2, 3);
  for (auto _ : state) {
    for (std::size_t at = 0; at < x.size(); at += kD) rope(std::span(x).subspan(at, kD), cos, sin);
    benchmark::DoNotOptimize(x.data());
  }
  report_bytes(state, chosen_cpu_path(), 2 * kFloats);
}
BENCHMARK(rope_of_heads);

// A page's keys of 16 heads of dimension 128.
void kv_store(benchmark::State& state, CpuPath path, KvType type) {
  flush_subnormals();
  constexpr Index kD = 128;
  constexpr Index kHeads = kCols / kD;
  const std::vector<float> x = random_row(kPageTokens * kCols, 1);
  const Bytes tile = kv_tile_bytes(type, kD);
  std::vector<std::byte> page((tile * kHeads).size() + 64);
  std::byte* first = page.data() + (64 - reinterpret_cast<std::uintptr_t>(page.data()) % 64) % 64;
  for (auto _ : state) {
    for (Index slot = 0; slot < kPageTokens; ++slot) {
      for (Index h = 0; h < kHeads; ++h)
        kernels_for(path).kv_store(type, x.data() + slot * kCols + h * kD, kD, slot, first + (tile * h).count);
    }
    benchmark::DoNotOptimize(page.data());
  }
  report_bytes(state, path, static_cast<double>(kPageTokens * kCols * 4 + (tile * kHeads).count));
}

void add(const std::string& what, CpuPath path, const std::string& more,
         const std::function<void(benchmark::State&)>& body) {
  const std::string id = what + "/" + std::string(name(path)) + (more.empty() ? "" : "/" + more);
  benchmark::RegisterBenchmark(id.c_str(), body);
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar || path == CpuPath::kAmx) continue;  // amx takes the kernels of avx512
    add("rms_norm", path, "", [=](benchmark::State& state) { rms_norm(state, path); });
    add("glu", path, "silu", [=](benchmark::State& state) { glu(state, path, Activation::kSilu); });
    add("glu", path, "gelu_tanh", [=](benchmark::State& state) { glu(state, path, Activation::kGeluTanh); });
    add("glu", path, "relu2", [=](benchmark::State& state) { glu(state, path, Activation::kRelu2); });
    add("quantize_q8", path, "", [=](benchmark::State& state) { quantize_q8(state, path); });
    add("soft_cap", path, "", [=](benchmark::State& state) { soft_cap(state, path); });
    add("round_bf16", path, "", [=](benchmark::State& state) { round_bf16(state, path); });
    for (const KvType type : kKvTypes) {
      add("kv_store", path, std::string(name(type)), [=](benchmark::State& state) { kv_store(state, path, type); });
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
