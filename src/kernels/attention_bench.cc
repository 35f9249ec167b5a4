// How fast are keys and values read, per path and page type? Heads of dimension 64 with 1, 4 or 8 query heads each, for
// one token (decode) or eight (prefill). GB/s counts keys and values once, GOP/s 4 D operations per position, token and
// query head; one thread.
//   attention/...  one KV head after 4096 positions: the caches hold it
//   kv_pages/...   a token of sixteen layers of eight KV heads after 8192 positions, pages laid out as by KvLayout: what
//                  decoding reads from memory, beside the roof of reading as many bytes
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/kernels.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

constexpr Index kD = 64;

// Pages of [layer][K then V][head] tiles, in huge pages as an arena is.
class Pages {
 public:
  Pages(KvType type, Index layers, Index heads, Index length)
      : type_(type), heads_(heads), tile_(kv_tile_bytes(type, kD)) {
    const Index tiles = 2 * layers * heads;
    const Index pages = ceil_div(length, kPageTokens), page_bytes = (tile_ * tiles).count;
    bytes_ = Bytes{pages * page_bytes};
    const std::size_t huge = std::size_t{2} << 20, size = (bytes_.size() / huge + 1) * huge;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(huge, size)));
    madvise(data_.get(), size, MADV_HUGEPAGE);
    constexpr Index kDifferent = 13;  // tiles; the rest repeats them
    std::vector<std::byte> some((tile_ * kDifferent).size());
    for (Index j = 0; j < kDifferent * kPageTokens; ++j)
      kv_store(type, random_row(kD, static_cast<unsigned>(j)).data(), kD, j % kPageTokens,
               some.data() + tile_.count * (j / kPageTokens));
    for (Index page = 0; page < pages; ++page) {
      pages_.push_back(data_.get() + page * page_bytes);
      for (Index i = 0; i < tiles; ++i)
        std::memcpy(data_.get() + page * page_bytes + i * tile_.count,
                    some.data() + (page * tiles + i) % kDifferent * tile_.count, tile_.size());
    }
  }
  [[nodiscard]] KvHead head(Index layer, Index head) const {
    return {type_, kD, pages_, tile_ * (2 * layer * heads_ + head), tile_ * ((2 * layer + 1) * heads_ + head)};
  }
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  KvType type_;
  Index heads_;
  Bytes tile_, bytes_;
  std::unique_ptr<std::byte, Free> data_;
  std::vector<const std::byte*> pages_;
};

void run(benchmark::State& state, CpuPath path, KvType type, Index tokens, Index heads) {
  flush_subnormals();
  constexpr Index kPosition = 4096;
  const Pages pages(type, 1, 1, kPosition + tokens);
  const std::vector<float> q = random_row(tokens * heads * kD, 1);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    kernels_for(path).attention(pages.head(0, 0), {kPosition, 0, heads}, {0.125f}, {q.data(), tokens, heads * kD},
                                {out.data(), tokens, heads * kD});
    benchmark::DoNotOptimize(out.data());
  }
  const double calls = static_cast<double>(state.iterations());
  state.counters["GB/s"] =
      benchmark::Counter(calls * static_cast<double>(pages.bytes().count) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GOP/s"] = benchmark::Counter(calls * 4 * static_cast<double>(kD * kPosition * tokens * heads) * 1e-9,
                                               benchmark::Counter::kIsRate);
}

void read_pages(benchmark::State& state, CpuPath path, KvType type, Index group) {
  flush_subnormals();
  constexpr Index kLayers = 16, kHeads = 8, kPosition = 8191;
  const Pages pages(type, kLayers, kHeads, kPosition + 1);
  const std::vector<float> q = random_row(group * kD, 1);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    for (Index layer = 0; layer < kLayers; ++layer) {
      for (Index head = 0; head < kHeads; ++head)
        kernels_for(path).attention(pages.head(layer, head), {kPosition, 0, group}, {0.125f}, {q.data(), 1, group * kD},
                                    {out.data(), 1, group * kD});
    }
    benchmark::DoNotOptimize(out.data());
  }
  report_bytes(state, path, static_cast<double>(pages.bytes().count));
}

void register_all() {
  for (const CpuPath path : usable_cpu_paths()) {
    if (path == CpuPath::kScalar) continue;
    for (const KvType type : kKvTypes) {
      const std::string of = std::string(name(path)) + "/" + std::string(name(type));
      for (const auto& [tokens, heads] : {std::pair<Index, Index>{1, 1}, {1, 4}, {1, 8}, {8, 1}, {8, 4}}) {
        const std::string id =
            "attention/" + of + "/tokens" + std::to_string(tokens) + "/heads" + std::to_string(heads);
        benchmark::RegisterBenchmark(
            id.c_str(), [=, n = tokens, h = heads](benchmark::State& state) { run(state, path, type, n, h); });
      }
      for (const Index group : {1, 4}) {
        benchmark::RegisterBenchmark(("kv_pages/" + of + "/heads" + std::to_string(group)).c_str(),
                                     [=](benchmark::State& state) { read_pages(state, path, type, group); });
      }
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
