// Counts of elements. Everything that is indexed is counted in Index; everything that is stored is counted in Bytes.
#pragma once

#include <cstdint>

namespace jericho {

using Index = std::int64_t;  // elements, rows, tokens: signed, so that differences need no care

constexpr Index ceil_div(Index count, Index unit) { return (count + unit - 1) / unit; }
constexpr Index round_up(Index count, Index unit) { return ceil_div(count, unit) * unit; }

}  // namespace jericho
