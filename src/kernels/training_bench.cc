// How near do the kernels of training come to the arithmetic (dense products) and to moving their bytes (all others),
// per path? One thread. Products are 256 rows by K = N = 1024, operands packed; rows are 16 of 2048, of attention 64 of
// 512; AdamW takes 1M weights, of which memory holds four values each; the loss 16 rows of 32,000 logits.
#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/random_row.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

constexpr Index kRows = 16;
constexpr Index kCols = 2048;
constexpr double kFloats = static_cast<double>(kRows * kCols) * 4;  // bytes of one matrix

void dense(benchmark::State& state, CpuPath path, DType type) {
  flush_subnormals();
  constexpr Index kTokens = 256, kSize = 1024;
  const TrainingKernels& kernels = training_kernels_for(path);
  const std::vector<float> w = random_row(kSize * kSize, 1), x = random_row(kTokens * kSize, 2);
  const Index k_cells = dense_cells(type, kSize);
  std::vector<std::uint32_t> right(static_cast<std::size_t>(dense_right_cells(k_cells, kSize)));
  std::vector<std::uint32_t> left(static_cast<std::size_t>(kTokens * k_cells));
  kernels.dense_transpose(type, float_rows(x.data(), kTokens, kSize), left.data(), kTokens);
  for (Index panel = 0; panel < dense_panels(kSize); ++panel) {
    kernels.dense_interleave(type, float_rows(w.data(), kSize, kSize).columns(panel * kDensePanel, kDensePanel),
                             kDensePanel, right.data() + dense_panel_offset(k_cells, panel), kDensePanel);
  }
  std::vector<float> y(static_cast<std::size_t>(kTokens * kSize));
  const std::vector<Index> ends = {k_cells};
  for (auto _ : state) {
    kernels.dense_multiply(type, {left.data(), 1, kTokens}, {right.data(), k_cells, kSize}, ends, DenseStore::kSet,
                           float_rows(y.data(), kTokens, kSize));
    benchmark::DoNotOptimize(y.data());
  }
  const PeakKind kind = type == DType::kF32                     ? PeakKind::kF32
                        : has_units(PeakKind::kBF16, path)      ? PeakKind::kBF16
                        : has_units(PeakKind::kBF16Pairs, path) ? PeakKind::kBF16Pairs
                                                                : PeakKind::kF32;
  report_operations(state, path, kind, 2.0 * kTokens * kSize * kSize);
}

void adamw(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  constexpr Index kCount = 1 << 20;
  const std::vector<float> gradient = random_row(kCount, 1);
  std::vector<float> weight = random_row(kCount, 2), m(weight.size()), v(weight.size());
  const AdamWStep step = {.keep = 0.9999f, .step_size = 1e-6f};
  for (auto _ : state) {
    training_kernels_for(path).adamw(step, gradient.data(), kCount, weight.data(), m.data(), v.data());
    benchmark::DoNotOptimize(weight.data());
  }
  report_bytes(state, path, 7.0 * 4 * kCount);  // reads four values, writes three
}

void cross_entropy(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  constexpr Index kVocab = 32000;
  const std::vector<float> z = random_row(kRows * kVocab, 1);
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(kRows), 7);
  std::vector<double> loss(static_cast<std::size_t>(kRows));
  std::vector<float> dz(z.size());
  for (auto _ : state) {
    training_kernels_for(path).cross_entropy({z.data(), kRows, kVocab}, targets.data(), 0.5f, loss.data(),
                                             float_rows(dz.data(), kRows, kVocab));
    benchmark::DoNotOptimize(dz.data());
  }
  report_bytes(state, path, 2.0 * 4 * kRows * kVocab);
}

void rms_norm_backward(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> x = random_row(kRows * kCols, 1), dy = random_row(kRows * kCols, 2),
                           weight = random_row(kCols, 3);
  std::vector<float> dx(x.size()), dweight(weight.size());
  for (auto _ : state) {
    training_kernels_for(path).rms_norm_backward({x.data(), kRows, kCols}, weight, 1e-5f, {dy.data(), kRows, kCols},
                                                 {dx.data(), kRows, kCols}, dweight);
    benchmark::DoNotOptimize(dx.data());
  }
  report_bytes(state, path, 3 * kFloats);
}

void glu_backward(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> gate = random_row(kRows * kCols, 1), up = random_row(kRows * kCols, 2),
                           dy = random_row(kRows * kCols, 3);
  std::vector<float> dgate(gate.size()), dup(gate.size()), y(gate.size());
  for (auto _ : state) {
    training_kernels_for(path).glu_backward(Activation::kSilu, float_rows(gate.data(), kRows, kCols),
                                            float_rows(up.data(), kRows, kCols), {dy.data(), kRows, kCols},
                                            float_rows(dgate.data(), kRows, kCols),
                                            float_rows(dup.data(), kRows, kCols), float_rows(y.data(), kRows, kCols));
    benchmark::DoNotOptimize(dgate.data());
  }
  report_bytes(state, path, 6 * kFloats);
}

void rope_rows(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  constexpr Index kD = 64;
  const std::vector<float> x = random_row(kRows * kCols, 1), cos = random_row(kRows * kD / 2, 2),
                           sin = random_row(kRows * kD / 2, 3);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    training_kernels_for(path).rope_rows({x.data(), kRows, kCols}, kD, {cos.data(), kRows, kD / 2},
                                         {sin.data(), kRows, kD / 2}, Turn::kForward,
                                         float_rows(y.data(), kRows, kCols));
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 2 * kFloats);
}

void glu_rows(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> gate = random_row(kRows * kCols, 1), up = random_row(kRows * kCols, 2);
  std::vector<float> y(gate.size());
  for (auto _ : state) {
    training_kernels_for(path).glu_rows(Activation::kSilu, float_rows(gate.data(), kRows, kCols),
                                        float_rows(up.data(), kRows, kCols), float_rows(y.data(), kRows, kCols));
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 3 * kFloats);
}

// 64 rows of a head against 512 keys.
void attention_rows(benchmark::State& state, CpuPath path, bool backward) {
  flush_subnormals();
  constexpr Index kQueries = 64, kKeys = 512;
  const std::vector<float> s = random_row(kQueries * kKeys, 1), dp = random_row(kQueries * kKeys, 2);
  std::vector<float> p(s.size()), ds(s.size()), m(kQueries), inverse(kQueries), delta(kQueries);
  const VisibleKeys visible = {0, kKeys - kQueries + 1};
  const TrainingKernels& kernels = training_kernels_for(path);
  const MatrixView<const float> logits(s.data(), kQueries, kKeys);
  const FloatRows weights = float_rows(p.data(), kQueries, kKeys), gradients = float_rows(ds.data(), kQueries, kKeys);
  kernels.attention_probabilities(logits, 0.125f, visible, weights, m.data(), inverse.data());
  for (auto _ : state) {
    if (backward) {
      kernels.attention_gradients(logits, {dp.data(), kQueries, kKeys}, 0.125f, visible, m.data(), inverse.data(),
                                  delta.data(), weights, gradients);
    } else {
      kernels.attention_probabilities(logits, 0.125f, visible, weights, m.data(), inverse.data());
    }
    benchmark::DoNotOptimize(p.data());
  }
  report_bytes(state, path, (backward ? 4.0 : 2.0) * 4 * kQueries * kKeys);
}

void row_sums(benchmark::State& state, CpuPath path) {
  flush_subnormals();
  const std::vector<float> a = random_row(kRows * kCols, 1), b = random_row(kRows * kCols, 2), factors(kCols, 0.5f);
  std::vector<float> y(a.size()), dots(kRows), sums(kCols);
  const TrainingKernels& kernels = training_kernels_for(path);
  for (auto _ : state) {
    kernels.scale_rows(float_rows(a.data(), kRows, kCols), factors.data(), float_rows(y.data(), kRows, kCols));
    kernels.row_dots(float_rows(a.data(), kRows, kCols), float_rows(b.data(), kRows, kCols), dots.data());
    kernels.add_column_sums(float_rows(a.data(), kRows, kCols), sums);
    benchmark::DoNotOptimize(kernels.sum_squares(a.data(), kRows * kCols));
    benchmark::DoNotOptimize(y.data());
  }
  report_bytes(state, path, 6 * kFloats);
}

// What packing a weight of K = N = 1024 for either side costs.
void dense_packing(benchmark::State& state, CpuPath path, DType type, bool transpose) {
  flush_subnormals();
  constexpr Index kSize = 1024;
  const std::vector<float> w = random_row(kSize * kSize, 1);
  std::vector<std::uint32_t> out(static_cast<std::size_t>(dense_right_cells(kSize, kSize)));
  const TrainingKernels& kernels = training_kernels_for(path);
  for (auto _ : state) {
    for (Index panel = 0; panel < dense_panels(kSize); ++panel) {
      const ConstFloatRows rows = float_rows(w.data(), kSize, kSize);
      std::uint32_t* to = out.data() + dense_panel_offset(dense_cells(type, kSize), panel);
      if (transpose) kernels.dense_transpose(type, rows.part(panel * kDensePanel, kDensePanel), to, kDensePanel);
      if (!transpose)
        kernels.dense_interleave(type, rows.columns(panel * kDensePanel, kDensePanel), kDensePanel, to, kDensePanel);
    }
    benchmark::DoNotOptimize(out.data());
  }
  report_bytes(state, path, static_cast<double>(kSize * (kSize + dense_cells(type, kSize)) * 4));
}

void add(const std::string& what, CpuPath path, const std::function<void(benchmark::State&, CpuPath)>& body) {
  benchmark::RegisterBenchmark((what + "/" + std::string(name(path))).c_str(),
                               [=](benchmark::State& state) { body(state, path); });
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar) continue;
    add("dense_bf16", path, [](benchmark::State& state, CpuPath p) { dense(state, p, DType::kBF16); });
    if (path == CpuPath::kAmx) continue;  // takes all other kernels of avx512
    add("dense_f32", path, [](benchmark::State& state, CpuPath p) { dense(state, p, DType::kF32); });
    add("adamw", path, adamw);
    add("cross_entropy", path, cross_entropy);
    add("rms_norm_backward", path, rms_norm_backward);
    add("glu_backward", path, glu_backward);
    add("rope_rows", path, rope_rows);
    add("glu_rows", path, glu_rows);
    add("attention_probabilities", path, [](benchmark::State& state, CpuPath p) { attention_rows(state, p, false); });
    add("attention_gradients", path, [](benchmark::State& state, CpuPath p) { attention_rows(state, p, true); });
    add("scale_dot_and_sum_rows", path, row_sums);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      const std::string of = std::string("_") + (type == DType::kF32 ? "f32" : "bf16");
      add("dense_transpose" + of, path,
          [=](benchmark::State& state, CpuPath p) { dense_packing(state, p, type, true); });
      add("dense_interleave" + of, path,
          [=](benchmark::State& state, CpuPath p) { dense_packing(state, p, type, false); });
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
