// For tests of attention only: stored keys and values.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/channel_keys.h"
#include "kernels/kv_tile.h"
#include "kernels/random_row.h"

namespace jericho {

// A type for keys and values both, and that of keys per channel.
inline constexpr std::array<KvTypes, kKvTypes.size() + 1> kPageTypes = {
    KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4, KvTypes(KvType::kQ4C, KvType::kQ4)};
inline std::string test_name(KvTypes types) {
  std::string text = name(types);
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

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
    const bool channels = type.keys == KvType::kQ4C;
    for (Index page = 0; page < ceil_div(length, kPageTokens); ++page) {
      pages_.push_back(add_page(storage_, page_bytes));
      if (channels) full_pages_.push_back(add_page(full_storage_, kv_tile_bytes(KvType::kF16, head_dim)));
    }
    for (Index j = 0; j < length; ++j) {
      const auto row = static_cast<std::size_t>(j);
      std::byte* page = page_of(storage_, j);
      if (channels) {
        kv_store(KvType::kF16, keys[row].data(), head_dim, j % kPageTokens, page_of(full_storage_, j));
        if ((j + 1) % kAttentionBlock == 0) code_block(j / kAttentionBlock * kAttentionBlock);
      } else {
        kv_store(type.keys, keys[row].data(), head_dim, j % kPageTokens, page);
      }
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
    return {type_, head_dim_, pages_, Bytes{}, kv_tile_bytes(type_.keys, head_dim_), full_pages_, Bytes{}};
  }
  // Of q4c: a key as a token sees it that sees those below `coded` in codes.
  [[nodiscard]] std::vector<float> channel_key(Index j, Index coded) const {
    std::vector<float> row(static_cast<std::size_t>(head_dim_));
    if (j >= coded) {
      kv_load(KvType::kF16, full_pages_[static_cast<std::size_t>(j / kPageTokens)], head_dim_, j % kPageTokens,
              row.data());
      return row;
    }
    for (Index d = 0; d < head_dim_; ++d) {
      const ChannelCode key =
          channel_code(block_of(pages_, j / kAttentionBlock * kAttentionBlock), head_dim_, j % kAttentionBlock, d);
      row[static_cast<std::size_t>(d)] = static_cast<float>(key.code) * to_float(key.scale) + to_float(key.least);
    }
    return row;
  }
  // Nothing of the f16 keys below `position` is there any more.
  void forget_full(Index position) {
    for (Index j = 0; j < position; j += kPageTokens) {
      auto& lines = full_storage_[static_cast<std::size_t>(j / kPageTokens)];
      std::fill_n(reinterpret_cast<std::byte*>(lines.data()), lines.size() * sizeof(Line), std::byte{0xff});
      full_pages_[static_cast<std::size_t>(j / kPageTokens)] = nullptr;
    }
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
  using Storage = std::vector<std::vector<Line>>;
  static std::byte* add_page(Storage& storage, Bytes bytes) {
    storage.emplace_back(bytes.size() / sizeof(Line));
    auto* page = reinterpret_cast<std::byte*>(storage.back().data());
    std::fill_n(page, bytes.size(), std::byte{0xff});  // NaN where nothing was stored
    return page;
  }
  static std::byte* page_of(Storage& storage, Index j) {
    return reinterpret_cast<std::byte*>(storage[static_cast<std::size_t>(j / kPageTokens)].data());
  }
  static KeyTiles block_of(const std::vector<const std::byte*>& pages, Index block) {
    KeyTiles tiles;
    std::copy_n(pages.begin() + block / kPageTokens, kBlockPages, tiles.begin());
    return tiles;
  }
  void code_block(Index block) {
    std::array<std::byte*, kBlockPages> coded;
    for (Index t = 0; t < kBlockPages; ++t)
      coded[static_cast<std::size_t>(t)] = page_of(storage_, block + t * kPageTokens);
    code_key_block(block_of(full_pages_, block), head_dim_, coded);
  }
  KvTypes type_;
  Index head_dim_;
  Storage storage_, full_storage_;
  std::vector<const std::byte*> pages_, full_pages_;
};

}  // namespace jericho
