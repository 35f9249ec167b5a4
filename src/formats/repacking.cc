// Where parts lie in the memory they are read into.
#include "formats/repacking.h"

#include "base/check.h"

namespace jericho {

Bytes Repacking::part_offset(std::size_t part) const {
  Bytes offset{};
  for (std::size_t i = 0; i < part; ++i) offset += round_up(parts_[i].size, 64_B);
  return offset;
}

Bytes Repacking::staging_bytes() const { return part_offset(parts_.size()); }

PartBytes Repacking::parts_in(std::span<const std::byte> staging) const {
  JERICHO_CHECK(staging.size() >= staging_bytes().size(), "{} bytes for parts of {}", staging.size(),
                staging_bytes().count);
  PartBytes bytes;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    bytes.push_back(staging.subspan(part_offset(i).size(), parts_[i].size.size()));
  }
  return bytes;
}

}  // namespace jericho
