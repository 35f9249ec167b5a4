// Normal random numbers from a counter (philox.h), the same bits everywhere: Box & Muller 1958, "A note on the
// generation of random normal deviates", on the two pairs of words of a draw, in double by math.h.
#pragma once

#include <array>

#include "base/philox.h"

namespace jericho {

// Means 0, variances 1.
std::array<double, 4> philox_normals(PhiloxCounter counter, PhiloxKey key);

}  // namespace jericho
