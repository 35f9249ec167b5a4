// Pages of keys and values that outlive the process: a folder of append-only segments from which a prompt that begins
// as an earlier one did takes its pages instead of computing them (docs/memory.md#prefix-store). Whatever ends the
// process, the store opens with whole records only: a record is found when it is durable, and is proven by checksum,
// key and tokens whenever it is read. What cannot be proven is a miss. Start at PrefixStore::find() and append().
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "engine/prefix_key.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "memory/ledger.h"
#include "plan/plan.h"

namespace jericho {

struct PrefixStoreOptions {
  std::filesystem::path dir{};  // is made where it is not there
  PrefixShape shape{};
  Sha256 fingerprint{};  // of model and form: stores of others in the same folder are left alone
};

// A file past the page cache where the file system allows it; move-only.
class SegmentFile {
 public:
  SegmentFile() = default;
  SegmentFile(const std::filesystem::path& path, bool writable);  // Error(kIo)
  SegmentFile(SegmentFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  SegmentFile& operator=(SegmentFile other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  SegmentFile(const SegmentFile&) = delete;
  ~SegmentFile();
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// One thread. Another process that has the store open makes this one read-only.
class PrefixStore {
 public:
  // `io` moves the bytes, `buffer` carries one record, `disk` is of shape.disk_bytes(). Error(kUsage) when the folder
  // cannot be used, Error(kIo) when it cannot be read; a store that is damaged is opened with what is whole.
  PrefixStore(const PrefixStoreOptions& options, Arena buffer, Lease disk, std::unique_ptr<IoBackend> io);
  ~PrefixStore();
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;

  [[nodiscard]] bool contains(const Sha256& key) const { return index_.contains(key); }
  // Reads the record into `payload`. False, and the record forgotten, when it is not there or is not what it should be.
  bool read(const Sha256& key, const Sha256& parent, std::span<const std::int32_t> tokens,
            std::span<std::byte> payload);
  // Writes a record behind the others; it is to be had after the next sync(). Nothing happens for a key that is there,
  // in a read-only store, and after a write has failed.
  void append(const Sha256& key, const Sha256& parent, std::span<const std::int32_t> tokens,
              std::span<const std::byte> payload);
  void sync();

  [[nodiscard]] Index records() const { return static_cast<Index>(index_.size()); }
  [[nodiscard]] bool read_only() const { return read_only_; }
  [[nodiscard]] const std::string& note() const { return note_; }  // why it takes nothing, for people; empty: it does
  [[nodiscard]] std::vector<Sha256> keys() const;
  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }  // of this fingerprint

 private:
  static constexpr Bytes kHeaderBlock = PrefixShape::kHeaderBlock;
  struct Header;
  struct Segment {
    std::uint64_t number = 0;
    SegmentFile file{};
    Index records = 0;       // whole ones
    std::uint64_t next = 0;  // the sequence number behind the last of them
    std::uint64_t used = 0;  // the clock of its last hit
  };
  struct Where {
    std::uint64_t segment = 0;
    Index record = 0;
  };

  [[nodiscard]] std::filesystem::path segment_path(std::uint64_t number) const;
  [[nodiscard]] Index capacity() const { return options_.shape.records; }
  [[nodiscard]] Bytes record_bytes() const { return options_.shape.record_bytes(); }
  void lock();
  std::vector<std::uint64_t> read_manifest();
  void write_manifest() const;
  void open_segment(std::uint64_t number);
  void choose_open();
  void scan(Segment& segment);
  bool new_segment();
  void drop_segment(std::uint64_t number);
  void give_up(const std::string& why);
  [[nodiscard]] bool transfer(IoOp op, const SegmentFile& file, std::int64_t offset, std::span<std::byte> bytes,
                              std::string* why = nullptr);

  PrefixStoreOptions options_;
  std::filesystem::path dir_;
  Arena buffer_;
  Lease disk_;
  std::unique_ptr<IoBackend> io_;
  int lock_ = -1;
  bool read_only_ = false;
  std::string note_;
  std::map<std::uint64_t, Segment> segments_;
  std::map<Sha256, Where> index_;
  std::map<Sha256, Where> pending_;  // written and not yet durable
  std::uint64_t sequence_ = 1;       // of the next record
  std::uint64_t next_segment_ = 1;
  std::optional<std::uint64_t> open_;  // the segment that takes records
  std::uint64_t clock_ = 0;
};

}  // namespace jericho
