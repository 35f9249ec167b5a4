// A file opened for reading in pieces. pread and not mmap: a file that shrinks while it is read gives an Error, not a
// SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "base/bytes.h"

namespace jericho {

// Fills `out` with the bytes at `offset`; the caller has made sure that they exist.
using ReadAt = std::function<void(std::int64_t offset, std::span<std::byte> out)>;

// Reading is thread-safe.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);  // Error(kIo), also for whatever is not a regular file
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  [[nodiscard]] std::int64_t size() const { return size_; }  // when it was opened
  void read_at(std::int64_t offset, std::span<std::byte> out) const;

 private:
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

// The whole file. Error(kInput) above `limit`: whoever wants a file in memory knows how large it can be at most.
std::string read_whole_file(const std::filesystem::path& path, Bytes limit);

}  // namespace jericho
