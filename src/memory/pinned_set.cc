// Spreading by carrying what is owed: see pinned_set.h.
#include "memory/pinned_set.h"

namespace jericho {

std::vector<bool> spread_pins(std::span<const Bytes> sizes, Bytes room) {
  std::vector<bool> pinned(sizes.size(), false);
  Bytes total{};
  for (const Bytes size : sizes) total += size;
  if (total == Bytes{}) return pinned;
  const double share = static_cast<double>(room.count) / static_cast<double>(total.count);
  double owed = 0;  // bytes that should have been pinned so far and are not
  Bytes left = room;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const auto size = static_cast<double>(sizes[i].count);
    owed += share * size;
    if (owed < size / 2 || sizes[i] > left) continue;
    pinned[i] = true;
    owed -= size;
    left -= sizes[i];
  }
  // Rounding left some room: the first that fit have it.
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (pinned[i] || sizes[i] > left) continue;
    pinned[i] = true;
    left -= sizes[i];
  }
  return pinned;
}

}  // namespace jericho
