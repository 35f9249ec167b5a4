// A file of tokens that stays on the disk: llm.c's shards, a header of 256 int32 (magic number, version, count) and the
// tokens, 16 bits each (20240520, version 1) or 32 (20240801, version 7), little endian (Karpathy, llm.c,
// dev/data/data_common.py). Start at TokenShard::read().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "base/index.h"
#include "memory/file.h"

namespace jericho {

// Thread-compatible. Reads go through the page cache, which the kernel takes back when it wants memory.
class TokenShard {
 public:
  static constexpr std::int64_t kHeaderBytes = 1024;

  // Error(kInput) for what is no shard, or shorter than it says.
  explicit TokenShard(const std::filesystem::path& path);

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] Index tokens() const { return tokens_; }
  // Tokens from `first` on. Error(kIo).
  void read(Index first, std::span<std::int32_t> out) const;
  // All of them once, in order, some at a time.
  void each(const std::function<void(Index first, std::span<const std::int32_t>)>& visit) const;
  // Where documents begin: what NAME.docs beside NAME.bin says, u64 little endian, ascending from 0. Empty: there is no
  // such file. Error(kInput) for one that is wrong.
  [[nodiscard]] std::vector<std::uint64_t> document_starts() const;

 private:
  File file_;
  Index token_bytes_ = 2;
  Index tokens_ = 0;
};

}  // namespace jericho
