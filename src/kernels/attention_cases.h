// For tests of attention only: stored keys and values.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/attention.h"
#include "kernels/kv_tile.h"
#include "kernels/random_row.h"

namespace jericho {

// Keys and values of one KV head on separate pages, so that a read beyond a page is seen by the sanitizer.
class Cache {
 public:
  Cache(KvTypes type, Index head_dim, Index length, unsigned seed, Values values = Values::kPlain)
      : Cache(type, head_dim, rows(head_dim, length, seed, values), rows(head_dim, length, seed + 1, values)) {}
  // Of keys and values that are given.
  Cache(KvTypes type, Index head_dim, const std::vector<std::vector<float>>& keys,
        const std::vector<std::vector<float>>& values)
      : type_(type), head_dim_(head_dim) {
    const Index length = static_cast<Index>(keys.size());
    const Bytes tile = kv_tile_bytes(type.keys, head_dim), page_bytes = tile + kv_tile_bytes(type.values, head_dim);
    for (Index page = 0; page < ceil_div(length, kPageTokens); ++page) {
      storage_.emplace_back(page_bytes.size() / sizeof(Line));
      auto* bytes = reinterpret_cast<std::byte*>(storage_.back().data());
      std::fill_n(bytes, page_bytes.size(), std::byte{0xff});  // NaN where nothing was stored
      pages_.push_back(bytes);
    }
    for (Index j = 0; j < length; ++j) {
      const auto row = static_cast<std::size_t>(j);
      std::byte* page = storage_page(j);
      kv_store(type.keys, keys[row].data(), head_dim, j % kPageTokens, page);
      kv_store(type.values, values[row].data(), head_dim, j % kPageTokens, page + tile.count);
    }
  }
  static std::vector<std::vector<float>> rows(Index head_dim, Index length, unsigned seed, Values values) {
    std::vector<std::vector<float>> rows;
    for (Index j = 0; j < length; ++j)
      rows.push_back(random_row(head_dim, seed + 2 * static_cast<unsigned>(j), values));
    return rows;
  }
  [[nodiscard]] KvHead head() const {
    return {type_, head_dim_, pages_, Bytes{}, kv_tile_bytes(type_.keys, head_dim_)};
  }
  [[nodiscard]] std::vector<float> stored(Index j, bool value) const {
    std::vector<float> row(static_cast<std::size_t>(head_dim_));
    const Bytes offset = value ? kv_tile_bytes(type_.keys, head_dim_) : Bytes{};
    kv_load(value ? type_.values : type_.keys, pages_[static_cast<std::size_t>(j / kPageTokens)] + offset.count,
            head_dim_, j % kPageTokens, row.data());
    return row;
  }

 private:
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  std::byte* storage_page(Index j) {
    return reinterpret_cast<std::byte*>(storage_[static_cast<std::size_t>(j / kPageTokens)].data());
  }
  KvTypes type_;
  Index head_dim_;
  std::vector<std::vector<Line>> storage_;
  std::vector<const std::byte*> pages_;
};

}  // namespace jericho
