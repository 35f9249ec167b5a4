// What does attention of one token cost that has too few query heads for all threads? `whole` gives each head to a
// thread, `split` has room for the logits and gives every thread some of the positions. Sixteen layers of one KV head,
// so that keys and values of a deep sequence come from memory; microseconds per layer. The roof is all threads reading
// as many bytes.
#include <benchmark/benchmark.h>

#include <string>
#include <tuple>
#include <vector>

#include "base/cpu.h"
#include "kernels/random_row.h"
#include "memory/arena.h"
#include "ops/bench_read.h"
#include "ops/paged_attention.h"

namespace jericho {
namespace {

constexpr Index kLayers = 16;

struct Case {
  KvType type;
  Index head_dim, group, depth;
  int threads;
};

void run(benchmark::State& state, const Case& c, bool split) {
  Ledger ledger{LedgerCaps{.ram = 2_GiB}};
  ThreadPool pool(c.threads);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  const KvLayout layout = {c.type, kLayers, 1, c.head_dim};
  const Index pages = ceil_div(c.depth, kPageTokens);
  const Arena arena(ledger.require(Tier::kRam, Purpose::kKvPages, arena_bytes(layout.page_bytes() * pages)),
                    {.populate = true});
  std::vector<std::byte*> list;
  for (Index i = 0; i < pages; ++i) list.push_back(arena.bytes().data() + (layout.page_bytes() * i).count);
  const std::span<std::byte* const> sequence(list);
  const std::vector<float> keys = random_row(c.depth * c.head_dim, 1), q = random_row(c.group * c.head_dim, 2);
  std::vector<BatchRow> rows;
  for (Index p = 0; p < c.depth; ++p) rows.push_back({0, p});
  const MatrixView<const float> stored(keys.data(), c.depth, c.head_dim);
  for (Index layer = 0; layer < kLayers; ++layer)
    store_kv(context, layout, layer, rows, stored, stored, {&sequence, 1});
  std::vector<float> out(q.size());
  const Arena room(ledger.require(Tier::kRam, Purpose::kAct, arena_bytes(Bytes{c.group * c.depth * 8})));
  Scratch spare(room.bytes());
  for (auto _ : state) {
    for (Index layer = 0; layer < kLayers; ++layer) {
      paged_attention(context, layout, layer, {.heads = c.group, .logits = {0.125f}}, std::span(rows).last(1),
                      {q.data(), 1, c.group * c.head_dim}, {&sequence, 1}, {out.data(), 1, c.group * c.head_dim}, {},
                      split ? &spare : nullptr);
    }
    benchmark::DoNotOptimize(out.data());
  }
  state.counters["us/layer"] = benchmark::Counter(static_cast<double>(state.iterations() * kLayers) * 1e-6,
                                                  benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  const double bytes = static_cast<double>((layout.page_bytes() * pages).count);
  report_rate(state, "GB/s", bytes * 1e-9);
  report_rate(state, "of_roof", bytes / all_threads_read(context, arena.bytes()));
  if (split && c.depth >= 8192 && spare.peak() == 0_B) state.SkipWithError("nothing was split");
}

void register_all() {
  for (const KvType type : kKvTypes) {
    for (const Index depth : {256, 512, 1024, 8192}) {
      for (const auto& [head_dim, group, threads] :
           {std::tuple<Index, Index, int>{64, 1, 2}, {128, 1, 2}, {256, 1, 2}, {128, 3, 2}, {128, 3, 4}, {64, 8, 16}}) {
        for (const bool split : {false, true}) {
          const std::string id = std::string("few_heads/") + (split ? "split" : "whole") + "/" +
                                 std::string(name(type)) + "/depth" + std::to_string(depth) + "/dim" +
                                 std::to_string(head_dim) + "/heads" + std::to_string(group) + "/threads" +
                                 std::to_string(threads);
          const Case c = {type, head_dim, group, depth, threads};
          benchmark::RegisterBenchmark(id.c_str(), [=](benchmark::State& state) {
            run(state, c, split);
          })->UseRealTime();
        }
      }
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
