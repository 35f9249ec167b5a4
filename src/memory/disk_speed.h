// How fast a disk takes and gives bytes when nothing stands between: O_DIRECT, many requests in flight. Start at
// measure_disk(), which makes a scratch file without a name, and measure_reading() of a file that is there: a disk may
// give one faster than another, be it for what a cache below it holds.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "base/bytes.h"
#include "memory/file.h"
#include "memory/io.h"

namespace jericho {

struct DiskMeasurement {
  Bytes size = 1_GiB;  // of the scratch file at most: half of what is free, if that is less
  double seconds = 3;  // of writing, and of each pass of reading, after which it ends early
  int passes = 3;      // of reading, the sizes of request in turn
};

struct DiskSpeed {
  double read_gbps = 0;    // of the best pass
  double write_gbps = 0;   // until the device says that it is kept (fdatasync)
  double read_spread = 0;  // how far below the best the middle pass was, as a part of it
  Bytes size{};            // written, and read again
};

// Writes and reads in folder `dir` by requests from and into `buffer`, page-aligned, at least kDiskBuffer, which is
// overwritten with bytes that do not compress. Throws what File::create_scratch() throws, Error(kUnsupported) where the
// file system has no O_DIRECT, since the page cache would be measured, or no room, and Error(kIo) on a failed request;
// Error(kInterrupted) on a stop request. Nothing is left behind, whatever ends it.
inline constexpr Bytes kDiskBuffer = 8_MiB;
DiskSpeed measure_disk(const std::filesystem::path& dir, IoBackend& io, std::span<std::byte> buffer,
                       const DiskMeasurement& how, const std::stop_token& stop);

// Bytes per second of the file from its front, for about so long, again and again where it is short. Nothing where it
// has no direct I/O or no whole request. Throws as measure_disk() does.
std::optional<double> measure_reading(const File& file, IoBackend& io, std::span<std::byte> buffer, double seconds,
                                      const std::stop_token& stop);

}  // namespace jericho
