// What do small ops over rows cost on one thread, beside moving their bytes through the caches? The choice of experts
// for a row of logits (64 of which 8, and DeepSeek's 256 in 8 groups), and the Hadamard transform of the heads of a
// row.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/random_row.h"
#include "ops/hadamard.h"
#include "ops/moe.h"

namespace jericho {
namespace {

constexpr Index kRows = 64;

void routing(benchmark::State& state, const RouterRule& rule) {
  flush_subnormals();
  const std::vector<float> logits = random_row(kRows * rule.experts, 1), bias = random_row(rule.experts, 2);
  std::vector<float> row, group_scores(static_cast<std::size_t>(rule.groups));
  std::vector<std::int32_t> experts(static_cast<std::size_t>(rule.experts_per_token));
  std::vector<float> weights(experts.size());
  for (auto _ : state) {
    for (Index t = 0; t < kRows; ++t) {
      row.assign(&logits[static_cast<std::size_t>(t * rule.experts)],
                 &logits[static_cast<std::size_t>(t * rule.experts)] + rule.experts);
      route_token(rule, row, bias, group_scores, experts, weights);
      benchmark::DoNotOptimize(weights.data());
    }
  }
  report_bytes(state, chosen_cpu_path(), static_cast<double>(kRows * rule.experts * 4));
}
void softmax_of_64(benchmark::State& state) { routing(state, {.experts = 64, .experts_per_token = 8}); }
void sigmoid_of_256_in_groups(benchmark::State& state) {
  routing(state, {.experts = 256,
                  .experts_per_token = 8,
                  .gating = Gating::kSigmoid,
                  .normalize = true,
                  .scale = 2.5f,
                  .groups = 8,
                  .topk_groups = 4,
                  .group_score = GroupScore::kTopTwoSum});
}
BENCHMARK(softmax_of_64);
BENCHMARK(sigmoid_of_256_in_groups);

void hadamard_of_heads(benchmark::State& state) {
  flush_subnormals();
  const Index head_dim = state.range(0);
  constexpr Index kCols = 2048;
  std::vector<float> x = random_row(kRows * kCols, 1);
  for (auto _ : state) {
    for (Index t = 0; t < kRows; ++t)
      hadamard(std::span(x).subspan(static_cast<std::size_t>(t * kCols), static_cast<std::size_t>(kCols)), head_dim);
    benchmark::DoNotOptimize(x.data());
  }
  report_bytes(state, chosen_cpu_path(), static_cast<double>(2 * kRows * kCols * 4));
}
BENCHMARK(hadamard_of_heads)->ArgName("head_dim")->Arg(64)->Arg(128);

}  // namespace
}  // namespace jericho
