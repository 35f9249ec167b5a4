// Hashes of prefixes, models and forms: see prefix_key.h.
#include "engine/prefix_key.h"

#include <algorithm>
#include <vector>

#include <sodium.h>

#include <nlohmann/json.hpp>

#include "memory/file.h"

namespace jericho {
namespace {

constexpr std::uint32_t kNumericsVersion = 1;  // rises when docs/numerics.md changes what a key or value is

class Hash {
 public:
  Hash() { crypto_hash_sha256_init(&state_); }
  Hash& add(const void* bytes, std::size_t size) {
    crypto_hash_sha256_update(&state_, static_cast<const unsigned char*>(bytes), size);
    return *this;
  }
  Hash& add(const Sha256& hash) { return add(hash.data(), hash.size()); }
  Hash& add(std::uint32_t value) { return add(&value, sizeof value); }  // little-endian: x86-64
  Hash& add_counted(std::string_view text) {
    return add(static_cast<std::uint32_t>(text.size())).add(text.data(), text.size());
  }
  Sha256 result() {
    Sha256 hash;
    crypto_hash_sha256_final(&state_, reinterpret_cast<unsigned char*>(hash.data()));
    return hash;
  }

 private:
  crypto_hash_sha256_state state_{};
};

}  // namespace

Sha256 root_key(const PrefixRoot& root) {
  return Hash().add("JKV1", 4).add(root.model).add(root.kv).add_counted(root.adapter).add_counted(root.tenant).result();
}

Sha256 block_key(const Sha256& parent, std::span<const std::int32_t> tokens) {
  return Hash()
      .add(parent)
      .add(static_cast<std::uint32_t>(tokens.size()))
      .add(tokens.data(), tokens.size_bytes())
      .result();
}

Sha256 model_fingerprint(const ModelFile& model) {
  constexpr std::int64_t kHead = std::int64_t{8} << 20, kBlock = 4096, kBlocks = 1024;
  Hash hash;
  std::vector<std::byte> buffer;
  for (const std::filesystem::path& path : model.files()) {
    const File file = File::open_read(path, FileCache::kUse);
    const std::int64_t size = file.size().count, head = std::min(size, kHead);
    hash.add(&size, sizeof size);
    const auto add = [&](std::int64_t offset, std::int64_t length) {
      buffer.resize(static_cast<std::size_t>(length));
      file.read_exactly(offset, buffer);
      hash.add(buffer.data(), buffer.size());
    };
    for (std::int64_t at = 0; at < head; at += kHead / 8) add(at, std::min(kHead / 8, head - at));
    for (std::int64_t block = 0; block < kBlocks && size - head >= kBlock; ++block)
      add(head + (size - head - kBlock) / kBlocks * block, kBlock);
    file.drop_cache(0, {size});
  }
  hash.add_counted(model.config().is_null() ? "" : model.config().dump());
  return hash.result();
}

Sha256 files_hash(std::span<const std::filesystem::path> files) {
  Hash hash;
  std::vector<std::byte> buffer((1_MiB).size());
  for (const std::filesystem::path& path : files) {
    const File file = File::open_read(path, FileCache::kUse);
    const std::int64_t size = file.size().count;
    hash.add(&size, sizeof size);
    for (std::int64_t at = 0; at < size; at += std::ssize(buffer)) {
      const std::span<std::byte> part =
          std::span(buffer).first(static_cast<std::size_t>(std::min(std::ssize(buffer), size - at)));
      file.read_exactly(at, part);
      hash.add(part.data(), part.size());
    }
  }
  return hash.result();
}

Sha256 kv_fingerprint(const KvLayout& layout, bool long_context) {
  Hash hash;
  hash.add(kNumericsVersion).add(static_cast<std::uint32_t>(kPageTokens));
  hash.add(static_cast<std::uint32_t>(layout.type.keys)).add(static_cast<std::uint32_t>(layout.type.values));
  for (const Index value : {layout.layers, layout.kv_heads, layout.head_dim, layout.latent_columns})
    hash.add(static_cast<std::uint32_t>(value));
  return hash.add(std::uint32_t{layout.rotated}).add(std::uint32_t{long_context}).result();
}

}  // namespace jericho
