// Where bytes go that RAM has no room for: slots of equal blocks in one file without a name, which vanishes with the
// process however that ends. Written and read past the page cache, many blocks at a time; each block carries a checksum
// over its content, place and generation (XXH3, xxHash 0.8) or, encrypted, an authentication tag, so that a torn, stale
// or misdirected block is never taken for what was written. Start at allocate(), write() and read(); wait() is where
// faults are mended or become an Error.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "memory/block_cipher.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/ledger.h"

namespace jericho {

struct ScratchOptions {
  std::filesystem::path dir{};  // of a file system on a disk
  ScratchPlace place = ScratchPlace::kOnDisk;
  bool encrypt = false;
};

struct ScratchShape {
  Bytes block_bytes{};  // a multiple of 4096; what one read or write moves
  Index blocks = 0;     // of a slot
  Index slots = 0;

  [[nodiscard]] Bytes total() const { return block_bytes * (blocks * slots); }
};

// One thread.
class ScratchFile {
 public:
  using Slot = Index;
  using Ticket = std::size_t;

  // `lease` is of tier disk and shape.total() bytes, which are reserved on the disk at once. Throws what
  // File::create_scratch() throws.
  ScratchFile(const ScratchOptions& options, ScratchShape shape, Lease lease, std::unique_ptr<IoBackend> io);
  ~ScratchFile();  // waits for what is in flight
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  static Bytes meta_bytes(ScratchShape shape);  // of the heap

  std::optional<Slot> allocate();  // nothing when all are in use
  void release(Slot slot);         // its blocks are no longer to be had

  // Both start at once and leave the buffer, page-aligned and a block long, to the file until wait(). An encrypted
  // write turns the buffer's content into noise. A block is read after its write was waited for.
  Ticket write(Slot slot, Index block, std::span<std::byte> buffer);
  Ticket read(Slot slot, Index block, std::span<std::byte> buffer);
  // Until it is done; every ticket is waited for once. Short transfers are continued, interrupted ones repeated, EIO
  // and a wrong checksum tried again; then Error(kIo) says what happened to which block.
  void wait(Ticket ticket);
  [[nodiscard]] bool done(Ticket ticket);  // without waiting; wait() is still called
  // Until a read's bytes are there; wait() is still called, and looks at its checksum unless verify() has: which other
  // threads may do for other reads that are done(), while nothing else is called.
  void arrive(Ticket ticket);
  [[nodiscard]] bool unverified(Ticket ticket) const;  // a read that is done and not yet looked at
  void verify(Ticket ticket);
  [[nodiscard]] bool written(Slot slot, Index block) const { return record(slot, block).written; }

  [[nodiscard]] const ScratchShape& shape() const { return shape_; }
  [[nodiscard]] Index free_slots() const { return static_cast<Index>(free_.size()); }
  [[nodiscard]] const File& file() const { return file_; }
  struct Counts {
    Bytes written{};
    Bytes read{};
    Index mended = 0;  // blocks that had to be read again because their checksum was wrong
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct Record {
    bool written = false;
    std::uint64_t checksum = 0;
    BlockCipher::Sealed sealed{};
  };
  struct Job {
    IoOp op{};
    Slot slot = 0;
    Index block = 0;
    std::uint32_t generation = 0;  // of the slot when the job began
    std::span<std::byte> buffer{};
    std::span<std::byte> left{};
    std::int64_t offset = 0;
    int failures = 0;  // EIO so far
    int retries = 0;   // since the last progress
    int mended = 0;
    bool active = false;
    bool finished = false;
    std::optional<bool> good{};  // of what was read, once it was looked at
    std::string failure{};
  };

  Ticket start(IoOp op, Slot slot, Index block, std::span<std::byte> buffer);
  void submit(Ticket ticket);
  void poll(IoWait wait);
  void complete(const IoResult& result);
  void finish_write(Job& job);
  [[nodiscard]] bool is_good(const Job& job);
  [[nodiscard]] BlockName name_of(const Job& job) const;
  [[nodiscard]] std::uint64_t checksum(const Job& job) const;
  [[nodiscard]] const Record& record(Slot slot, Index block) const {
    return records_[static_cast<std::size_t>(slot * shape_.blocks + block)];
  }
  [[nodiscard]] Record& record(Slot slot, Index block) {
    return records_[static_cast<std::size_t>(slot * shape_.blocks + block)];
  }

  ScratchShape shape_;
  Lease lease_;
  File file_;
  std::unique_ptr<IoBackend> io_;
  std::unique_ptr<BlockCipher> cipher_;  // where blocks are encrypted
  std::vector<Record> records_;
  std::vector<std::uint32_t> generations_;  // of slots: rise with each allocate()
  std::vector<std::uint8_t> held_;
  std::vector<Slot> free_;
  std::vector<Job> jobs_;
  std::vector<Ticket> unused_;
  Counts counts_{};
};

}  // namespace jericho
