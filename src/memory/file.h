// An open file that keeps its name for error messages and stays out of the page cache, whose pages would be charged to
// our memory without being in the ledger (open(2) O_DIRECT, posix_fadvise(2)). Start at File::open_read().
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/bytes.h"

namespace jericho {

enum class FileCache {
  kBypass,  // O_DIRECT where the file system has it, else buffered with drop_cache()
  kUse,     // buffered: for headers and small files
};
enum class ScratchPlace { kOnDisk, kAnywhere };

// Move-only; thread-compatible, though any number of threads may read through fd().
class File {
 public:
  File() = default;
  // Throws Error(kInput) when the file is not there or no regular file, Error(kIo) when it cannot be opened.
  static File open_read(const std::filesystem::path& path, FileCache cache = FileCache::kBypass);
  // A file without a name in folder `dir`, read and write, mode 0600: whatever ends the process, its space returns.
  // `reserve` bytes are allocated at once, so that a full disk is found now. Throws Error(kIo) for both, and
  // Error(kUsage) when `dir` lies in memory (tmpfs, ramfs) and `place` does not allow it.
  static File create_scratch(const std::filesystem::path& dir, Bytes reserve = {},
                             ScratchPlace place = ScratchPlace::kOnDisk);

  // A new file of `reserve` bytes, all allocated, so that a full disk is found now. Throws Error(kIo), also when `path`
  // is there already.
  static File create(const std::filesystem::path& path, Bytes reserve);

  File(File&& other) noexcept { swap(other); }
  File& operator=(File other) noexcept {
    swap(other);
    return *this;
  }
  File(const File&) = delete;
  ~File();
  void swap(File& other) noexcept;

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool direct() const { return direct_; }
  // What offset, size and buffer of a request must be multiples of: 1 when buffered, otherwise a power of two up to
  // 4096.
  [[nodiscard]] Bytes alignment() const { return alignment_; }
  [[nodiscard]] Bytes size() const;  // now; throws Error(kIo)

  // Fills `buffer` from `offset`, blocking; for headers, so of a buffered file. Throws Error(kIo), or Error(kInput)
  // when the file ends before.
  void read_exactly(std::int64_t offset, std::span<std::byte> buffer) const;
  void truncate(Bytes size) const;  // throws Error(kIo)
  // Asks the kernel to drop clean cached pages of the range. Nothing to do when direct().
  void drop_cache(std::int64_t offset, Bytes length) const;

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  void allocate(Bytes reserve);
  void go_direct();

  int fd_ = -1;
  std::string path_;
  bool direct_ = false;
  Bytes alignment_{1};
};

}  // namespace jericho
