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
      : type_(type), head_dim_(head_dim) {
    const Bytes tile = kv_tile_bytes(type.keys, head_dim), page_bytes = tile + kv_tile_bytes(type.values, head_dim);
    for (Index page = 0; page < ceil_div(length, kPageTokens); ++page) {
      storage_.emplace_back(page_bytes.size() / sizeof(Line));
      auto* bytes = reinterpret_cast<std::byte*>(storage_.back().data());
      std::fill_n(bytes, page_bytes.size(), std::byte{0xff});  // NaN where nothing was stored
      pages_.push_back(bytes);
    }
    for (Index j = 0; j < length; ++j) {
      const auto row = static_cast<unsigned>(j);
      keys_.push_back(random_row(head_dim, seed + 2 * row, values));
      values_.push_back(random_row(head_dim, seed + 2 * row + 1, values));
      std::byte* page = storage_page(j);
      kv_store(type.keys, keys_.back().data(), head_dim, j % kPageTokens, page);
      kv_store(type.values, values_.back().data(), head_dim, j % kPageTokens, page + tile.count);
    }
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
  std::vector<std::vector<float>> keys_;
  std::vector<std::vector<float>> values_;
};

}  // namespace jericho
