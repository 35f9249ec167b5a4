// Writes one file from its beginning to its end at the speed of the disk: bytes are gathered in slots, and a full slot
// is written, past the page cache where the file system allows it, while the next is filled. The counterpart of
// stream_reader.h. Start at append().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <streambuf>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "memory/file.h"
#include "memory/io.h"

namespace jericho {

// One thread. No one else may use the backend while a writer lives; its destructor waits for what is in flight.
class StreamWriter {
 public:
  static constexpr Bytes kSlot{1 << 20};
  static Bytes buffer_bytes(int slots) { return kSlot * slots; }  // at least 2: one is filled while others are written

  // `buffer` starts on a multiple of 4096 and holds slots; `file` is empty, or reserved, and outlives the writer.
  StreamWriter(IoBackend& io, const File& file, std::span<std::byte> buffer);
  ~StreamWriter();
  StreamWriter(const StreamWriter&) = delete;
  StreamWriter& operator=(const StreamWriter&) = delete;

  // Waits only while all slots are being written. Error(kIo) when an earlier write failed.
  void append(std::span<const std::byte> bytes);
  // Writes what is left and gives the file its size. Error(kIo).
  void finish();

 private:
  struct Slot {
    std::int64_t offset = 0;      // of what is left to write
    std::span<std::byte> left{};  // empty when the slot is free
    int retries = 0;              // since the last progress
  };
  void submit_slot(std::int64_t size);
  void submit(std::size_t slot);
  void complete(const IoResult& result);
  void wait_for(std::size_t slot);
  void throw_failure() const;

  IoBackend& io_;
  const File& file_;
  std::span<std::byte> buffer_;
  std::vector<Slot> slots_;
  std::size_t slot_ = 0;     // being filled
  std::int64_t filled_ = 0;  // bytes of it
  std::int64_t offset_ = 0;  // of its begin in the file
  std::string failure_;      // the first
};

// For writers that want a std::ostream: everything goes to a StreamWriter. The stream throws its errors when it is told
// to, by `exceptions(std::ios::badbit)`.
class StreamWriterBuffer final : public std::streambuf {
 public:
  explicit StreamWriterBuffer(StreamWriter& writer) : writer_(writer) {}

 private:
  std::streamsize xsputn(const char* bytes, std::streamsize count) override;
  int_type overflow(int_type character) override;
  StreamWriter& writer_;
};

}  // namespace jericho
