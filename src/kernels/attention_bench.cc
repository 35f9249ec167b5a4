// How fast are keys and values read, per path and page type? Heads of dimension 64 with 1, 4 or 8 query heads each, for
// one token (decode) or eight (prefill). GB/s counts keys and values once, GOP/s 4 D operations per position, token and
// query head; one thread. The roof is reading as many bytes, or fp32 multiplying, whichever is nearer.
//   attention/...  one KV head after 4096 positions: the caches hold it
//   kv_pages/...   a token of sixteen layers of eight KV heads after 8192 positions, pages laid out as by KvLayout:
//                  what decoding reads from memory, beside the roof of reading as many bytes
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/channel_keys.h"
#include "kernels/kernels.h"
#include "kernels/random_row.h"

namespace jericho {
namespace {

constexpr Index kD = 64;

// Some tiles of random keys or values, one after the other.
std::vector<std::byte> tiles_of(KvType type, Index tiles) {
  std::vector<std::byte> bytes((kv_tile_bytes(type, kD) * tiles).size());
  for (Index j = 0; j < tiles * kPageTokens; ++j)
    kv_store(type, random_row(kD, static_cast<unsigned>(j)).data(), kD, j % kPageTokens,
             bytes.data() + kv_tile_bytes(type, kD).count * (j / kPageTokens));
  return bytes;
}
// And four of keys per channel.
std::vector<std::byte> channel_tiles(const std::vector<std::byte>& full) {
  std::vector<std::byte> bytes((kv_tile_bytes(KvType::kQ4C, kD) * kBlockPages).size());
  KeyTiles from{};
  std::array<std::byte*, kBlockPages> to{};
  for (std::size_t t = 0; t < kBlockPages; ++t) {
    from[t] = full.data() + kv_tile_bytes(KvType::kF16, kD).size() * t;
    to[t] = bytes.data() + kv_tile_bytes(KvType::kQ4C, kD).size() * t;
  }
  code_key_block(from, kD, to);
  return bytes;
}

// Pages of [layer][K then V][head] tiles, in huge pages as an arena is.
class Pages {
 public:
  Pages(KvTypes type, Index layers, Index heads, Index length)
      : type_(type),
        heads_(heads),
        key_tile_(kv_tile_bytes(type.keys, kD)),
        value_tile_(kv_tile_bytes(type.values, kD)),
        full_(tiles_of(KvType::kF16, kBlockPages)) {
    const Index pages = ceil_div(length, kPageTokens), page_bytes = (layer_bytes() * layers).count;
    bytes_ = Bytes{pages * page_bytes};
    const std::size_t huge = std::size_t{2} << 20, size = (bytes_.size() / huge + 1) * huge;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(huge, size)));
    madvise(data_.get(), size, MADV_HUGEPAGE);
    constexpr Index kDifferent = 13;  // tiles; the rest repeats them
    const bool channels = type.keys == KvType::kQ4C;
    const std::vector<std::byte> keys = channels ? channel_tiles(full_) : tiles_of(type.keys, kDifferent);
    const std::vector<std::byte> values = tiles_of(type.values, kDifferent);
    for (Index page = 0; page < pages; ++page) {
      pages_.push_back(data_.get() + page * page_bytes);
      full_pages_.push_back(full_.data());
      for (Index i = 0; i < layers * heads; ++i) {
        const Index key = channels ? page % kBlockPages : (page * layers * heads + i) % kDifferent;
        const KvHead at = head(i / heads, i % heads);
        std::memcpy(data_.get() + page * page_bytes + at.key_offset.count, keys.data() + key * key_tile_.count,
                    key_tile_.size());
        std::memcpy(data_.get() + page * page_bytes + at.value_offset.count,
                    values.data() + (page * layers * heads + i) % kDifferent * value_tile_.count, value_tile_.size());
      }
    }
  }
  [[nodiscard]] KvHead head(Index layer, Index head) const {
    const Bytes keys = layer_bytes() * layer + key_tile_ * head;
    const Bytes values = layer_bytes() * layer + key_tile_ * heads_ + value_tile_ * head;
    return {type_, kD, pages_, keys, values, full_pages_, {}};
  }
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  [[nodiscard]] Bytes layer_bytes() const { return (key_tile_ + value_tile_) * heads_; }
  KvTypes type_;
  Index heads_;
  Bytes key_tile_, value_tile_, bytes_{};
  std::vector<std::byte> full_;  // keys in full, the same in every block
  std::unique_ptr<std::byte, Free> data_;
  std::vector<const std::byte*> pages_, full_pages_;
};

void run(benchmark::State& state, CpuPath path, KvTypes type, Index tokens, Index heads) {
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
  report_work(state, path, static_cast<double>(pages.bytes().count), PeakKind::kF32,
              4 * static_cast<double>(kD * kPosition * tokens * heads));
}

void read_pages(benchmark::State& state, CpuPath path, KvTypes type, Index group) {
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
    std::vector<KvTypes> types(kKvTypes.begin(), kKvTypes.end());
    types.emplace_back(KvType::kQ4C, KvType::kQ4);
    for (const KvTypes type : types) {
      const std::string of = std::string(name(path)) + "/" + name(type);
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
