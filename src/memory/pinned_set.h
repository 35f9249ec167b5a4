// Which units to keep in memory of those that are read in turn, over and over, when not all fit. In such a loop over N
// units every cache that keeps what was used last finds nothing of it again, however much it holds, and even one that
// knows the future hits (C - 1) / (N - 1) with room for C when what is read must be kept. A fixed set of C, with the
// rest read past it, hits C / N, which is the most there is. Which C is free to choose, so the rest is spread evenly
// over the loop: the disk then has something to do all the time, not only where the pinned ones end. Details:
// docs/memory.md#residency
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"

namespace jericho {

// Flags of the units to pin, of `sizes` in order of use: as much as `room` holds, spread evenly.
std::vector<bool> spread_pins(std::span<const Bytes> sizes, Bytes room);

}  // namespace jericho
