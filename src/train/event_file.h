// A TensorBoard event file: scalars by tag and step, each in a record of its own that is framed by masked CRC-32C
// (github.com/tensorflow/tensorflow, lib/io/record_writer and util/event.proto). Start at EventFile::add().
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "base/index.h"

namespace jericho {

std::uint32_t crc32c(std::string_view bytes);

// The bytes of a record: the one that a file begins with, and a scalar.
std::string version_record(double wall_time);
std::string scalar_record(double wall_time, Index step, std::string_view tag, float value);

class EventFile {
 public:
  // A new file in `folder`, named by the time and the host. Error(kIo).
  EventFile(const std::filesystem::path& folder, double wall_time);

  // False when it could not be written.
  bool add(double wall_time, Index step, std::string_view tag, double value);

 private:
  std::ofstream out_;
};

}  // namespace jericho
