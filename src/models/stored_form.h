// What lies between a weight and the way a file keeps it (StoredForm): the order of rotated rows, and values kept as
// something else. Reading undoes it, writing does it.
#pragma once

#include <span>

#include "base/index.h"
#include "models/weight_list.h"
#include "tensor/dtype.h"

namespace jericho {

// Where row `row` of a weight lies in a file that keeps pairs: row i + j count / 2 of a head's pairs is row 2 i + j of
// them.
Index file_row_of(const RowPairs& pairs, Index row);

// From what a file keeps to what is meant, in place.
void restore_values(StoredValues stored, std::span<float> values);

// The inverse. Of several values that restore to the same, the one with the fewest digits is taken: what a 16-bit
// checkpoint will have held.
void store_values(StoredValues stored, std::span<float> values);

}  // namespace jericho
