// What becomes of a sequence that has to make room: its pages go to the scratch file and come back, or they are dropped
// and computed again from its tokens, whichever takes less time (docs/memory.md#preemption). Start at
// recompute_is_cheaper().
#pragma once

#include "base/bytes.h"
#include "base/index.h"

namespace jericho {

enum class Preemption { kCheapest, kSwap, kRecompute };

struct PreemptionCost {
  Index tokens = 0;                 // of the sequence
  Bytes bytes{};                    // of its pages in RAM
  double seconds_per_token = 0;     // of reading a text, as measured; 0: not yet
  double bytes_per_second = 1.0e9;  // of the scratch file, each way
};

// tokens * time per token < bytes out and in again. What was not measured is taken to be slower than any disk.
constexpr bool recompute_is_cheaper(const PreemptionCost& cost) {
  if (cost.seconds_per_token <= 0) return false;
  return static_cast<double>(cost.tokens) * cost.seconds_per_token <
         2 * static_cast<double>(cost.bytes.count) / cost.bytes_per_second;
}

struct Preemptions {  // so far
  Index swapped = 0;
  Index recomputed = 0;
};

}  // namespace jericho
