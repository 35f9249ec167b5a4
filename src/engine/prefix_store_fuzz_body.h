// What prefix_store_fuzz.cc does with any bytes: they become the manifest and the segments of a store, which is opened,
// read, added to and opened again. What it says is there must be what was put in, and what it took must be there
// afterwards. For tests only.
//   input  flags, segments, u16 bytes cut off the last segment, u16 size of the manifest, manifest, then per record its
//          128 bytes of header, its tokens and 16 bytes that its page repeats; two records to a segment
//   flags  1, 2, 4: checksums of manifest, headers, pages are made right, so that what lies behind them is reached
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/error.h"
#include "engine/prefix_store.h"
#include "memory/io.h"
#include "memory/ledger.h"
#include "memory/temp_folder.h"

namespace jericho::fuzz {

class StoreOfBytes {
 public:
  static constexpr std::size_t kHeader = 128, kTokens = sizeof(std::int32_t) * kPageTokens, kPattern = 16;
  static constexpr std::size_t kChecksum = 8, kPageChecksum = 96;  // where a header has them
  static constexpr std::size_t kPerSegment = 2, kBlock = 4096;

  explicit StoreOfBytes(std::span<const std::byte> input) : left_(input) {
    const auto flags = static_cast<unsigned>(take(1)[0]), segments = static_cast<unsigned>(take(1)[0]) % 4;
    const std::size_t cut = take_u16();
    sealed_pages_ = (flags & 4) != 0;
    write("MANIFEST", sealed(take(std::min(take_u16(), left_.size())), (flags & 1) != 0));
    for (unsigned segment = 1; segment <= segments; ++segment) {
      std::vector<std::byte> bytes;
      for (std::size_t i = 0; i < kPerSegment && !left_.empty(); ++i) add_record(bytes, (flags & 2) != 0);
      if (segment == segments) bytes.resize(bytes.size() - std::min(cut, bytes.size()));
      write(fmt::format("seg-{}.kv", segment), bytes);
    }
  }

  std::unique_ptr<PrefixStore> open() {
    const PrefixStoreOptions options = {folder_.path(), shape(), fingerprint()};
    Arena buffer(ledger_.require(Tier::kRam, Purpose::kKvPrefix, arena_bytes(options.shape.record_bytes())));
    return std::make_unique<PrefixStore>(options, std::move(buffer),
                                         ledger_.require(Tier::kDisk, Purpose::kKvPrefix, options.shape.disk_bytes()),
                                         make_io_backend());
  }
  // Record n of the seeds. What is found must be its page, unless the checksum of another one was made right.
  bool has(PrefixStore& store, int n) const {
    std::vector<std::byte> page(kBlock);
    if (!store.read(key(n), parent(n), tokens(n), page)) return false;
    JERICHO_CHECK(sealed_pages_ || page == this->page(n), "record {} is another", n);
    return true;
  }
  static void append(PrefixStore& store, int n) { store.append(key(n), parent(n), tokens(n), page(n)); }

 private:
  static PrefixShape shape() { return {.payload = Bytes{kBlock}, .records = kPerSegment, .segments = 2}; }
  static Sha256 filled(int byte) {
    Sha256 hash;
    hash.fill(static_cast<std::byte>(byte));
    return hash;
  }
  static Sha256 fingerprint() { return filled(1); }
  static Sha256 key(int n) { return filled(0x40 + n); }
  static Sha256 parent(int n) { return filled(0x20 + n); }
  static std::vector<std::int32_t> tokens(int n) { return std::vector<std::int32_t>(kPageTokens, n); }
  static std::vector<std::byte> page(int n) { return std::vector<std::byte>(kBlock, static_cast<std::byte>(0x60 + n)); }

  std::span<const std::byte> take(std::size_t count) {
    if (count > left_.size()) throw Error(ErrorKind::kInput, "no store");
    const auto taken = left_.first(count);
    left_ = left_.subspan(count);
    return taken;
  }
  std::size_t take_u16() {
    const auto bytes = take(2);
    return static_cast<std::size_t>(bytes[0]) | static_cast<std::size_t>(bytes[1]) << 8;
  }
  static void seal(std::span<const std::byte> content, std::byte* place) {
    const std::uint64_t checksum = XXH3_64bits(content.data(), content.size());
    std::memcpy(place, &checksum, sizeof checksum);
  }
  static std::vector<std::byte> sealed(std::span<const std::byte> manifest, bool seals) {
    std::vector<std::byte> bytes(manifest.begin(), manifest.end());
    if (seals && bytes.size() >= 8) seal(std::span(bytes).first(bytes.size() - 8), bytes.data() + bytes.size() - 8);
    return bytes;
  }
  void add_record(std::vector<std::byte>& to, bool seals) {
    const auto stored = take(std::min(left_.size(), kHeader + kTokens + kPattern));
    std::vector<std::byte> record(2 * kBlock);
    const std::size_t head = std::min(stored.size(), kHeader + kTokens);
    std::copy_n(stored.begin(), head, record.begin());
    const auto pattern = stored.subspan(head);
    for (std::size_t i = 0; i < kBlock && !pattern.empty(); ++i) record[kBlock + i] = pattern[i % pattern.size()];
    if (sealed_pages_) seal(std::span(record).subspan(kBlock), record.data() + kPageChecksum);
    if (seals) {
      std::fill_n(record.begin() + kChecksum, 8, std::byte{});
      seal(std::span(record).first(kBlock), record.data() + kChecksum);
    }
    to.insert(to.end(), record.begin(), record.end());
  }
  void write(const std::string& name, std::span<const std::byte> bytes) const {
    const std::filesystem::path folder = folder_.path() / "0101010101010101";  // of the fingerprint
    std::filesystem::create_directories(folder);
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

  TempFolder folder_;
  Ledger ledger_{LedgerCaps{.ram = 1_MiB, .disk = 1_MiB}};
  std::span<const std::byte> left_;
  bool sealed_pages_ = false;
};

// True when a record of the seeds was found.
inline bool prefix_store(std::span<const std::byte> bytes) {
  constexpr int kSeeded = 4, kNew = 9;
  try {
    StoreOfBytes files(bytes);
    bool found = false;
    {
      const auto store = files.open();
      for (int n = 0; n < kSeeded; ++n) found = files.has(*store, n) || found;
      files.append(*store, kNew);
      store->sync();
      JERICHO_CHECK(files.has(*store, kNew) || !store->note().empty(), "what was taken is not there");
      if (!store->note().empty()) return found;
    }
    const auto again = files.open();
    JERICHO_CHECK(files.has(*again, kNew), "what was taken is not there any more");
    return found;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace jericho::fuzz
