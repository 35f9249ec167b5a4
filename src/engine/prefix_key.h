// Names of prefixes: a chain of SHA-256 over model, form of the cache, tenant and tokens, so that a page of keys and
// values is found again by exactly the text, the model and the tenant that made it. Byte layout:
// docs/memory.md#prefix-store. Start at PrefixKeys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "formats/model_file.h"
#include "ops/paged_attention.h"

namespace jericho {

using Sha256 = std::array<std::byte, 32>;

struct PrefixRoot {
  Sha256 model{};              // model_fingerprint()
  Sha256 kv{};                 // kv_fingerprint()
  std::string_view adapter{};  // its content hash and scale; empty: none
  std::string_view tenant{};
};

// h0 = SHA256("JKV1" | model | kv | u32 length, adapter | u32 length, tenant); of a block h = SHA256(parent | u32 n | n
// u32 tokens).
Sha256 root_key(const PrefixRoot& root);
Sha256 block_key(const Sha256& parent, std::span<const std::int32_t> tokens);

// Of what a model's files hold: their sizes, their first 8 MiB, where headers are, 1024 blocks of 4 KiB across the
// rest, and config.json. Weights that were trained further differ in nearly every block.
Sha256 model_fingerprint(const ModelFile& file);

// Of all that these files hold.
Sha256 files_hash(std::span<const std::filesystem::path> files);

// Of how keys and values are kept and which values they are.
Sha256 kv_fingerprint(const KvLayout& layout, bool long_context);

}  // namespace jericho
