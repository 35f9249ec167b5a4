// How fast are keys and values read, per path and page type? One KV head of dimension 64 with 1, 4 or 8 query heads, for
// one token (decode) or eight (prefill) after 4096 positions (in cache). GB/s counts keys and values once, GOP/s 4 D
// operations per position, token and head.
#include <benchmark/benchmark.h>

#include <cmath>

#include "base/cpu.h"
#include "kernels/kernels.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

void run(benchmark::State& state, CpuPath path, KvType type, Index tokens, Index heads) {
  flush_subnormals();
  constexpr Index kD = 64;
  constexpr Index kLength = 4096 + 8;
  const Bytes tile = kv_tile_bytes(type, kD);
  std::vector<std::byte> bytes((tile * 2 * ceil_div(kLength, kPageTokens)).size() + 64);
  std::byte* data = bytes.data();
  while (reinterpret_cast<std::uintptr_t>(data) % 64 != 0) ++data;
  std::vector<const std::byte*> pages;
  for (Index j = 0; j < kLength; ++j) {
    std::byte* page = data + (tile * 2 * (j / kPageTokens)).count;
    if (j % kPageTokens == 0) pages.push_back(page);
    kv_store(type, random_row(kD, static_cast<unsigned>(j)).data(), kD, j % kPageTokens, page);
    kv_store(type, random_row(kD, static_cast<unsigned>(j + kLength)).data(), kD, j % kPageTokens, page + tile.count);
  }
  const std::vector<float> q = random_row(tokens * heads * kD, 1);
  std::vector<float> out(q.size());
  const KvHead kv{type, kD, pages, Bytes{}, tile};
  for (auto _ : state) {
    kernels_for(path).attention(kv, {4096, 0, heads}, {0.125f}, {q.data(), tokens, heads * kD},
                                {out.data(), tokens, heads * kD});
    benchmark::DoNotOptimize(out.data());
  }
  const double calls = static_cast<double>(state.iterations());
  state.counters["GB/s"] =
      benchmark::Counter(calls * static_cast<double>((tile * 2 * ceil_div(kLength, kPageTokens)).count) * 1e-9,
                         benchmark::Counter::kIsRate);
  state.counters["GOP/s"] = benchmark::Counter(calls * 4 * static_cast<double>(kD * kLength * tokens * heads) * 1e-9,
                                               benchmark::Counter::kIsRate);
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar || path == CpuPath::kAmx) continue;  // amx takes the kernel of avx512
    for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8}) {
      for (const auto& [tokens, heads] : {std::pair<Index, Index>{1, 1}, {1, 4}, {1, 8}, {8, 1}, {8, 4}}) {
        const std::string id = "attention/" + std::string(name(path)) + "/" + std::string(name(type)) + "/tokens" +
                               std::to_string(tokens) + "/heads" + std::to_string(heads);
        benchmark::RegisterBenchmark(
            id.c_str(), [=, n = tokens, h = heads](benchmark::State& state) { run(state, path, type, n, h); });
      }
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
