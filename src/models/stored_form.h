// What lies between a weight and the way a file keeps it (StoredForm): the order of rotated rows and of columns, and
// values kept as something else. Reading undoes it, writing does it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/index.h"
#include "models/weight_list.h"
#include "tensor/dtype.h"

namespace jericho {

// Where row `row` of a weight lies in a file that keeps pairs: row i + j count / 2 of a head's pairs is row 2 i + j of
// them.
Index file_row_of(const RowPairs& pairs, Index row);

// A file row as fp32, out[cols] in the order of the inputs; column c of the row is of input input_order[c], or of input
// c where that is empty (RowDecoder::input_order()). `room` has cols values.
void dequantize_in_input_order(DType dtype, Index cols, std::span<const std::int32_t> input_order, const std::byte* row,
                               float* room, float* out);

// From what a file keeps to what is meant, in place.
void restore_values(StoredValues stored, std::span<float> values);

// The inverse. Of several values that restore to the same, the one with the fewest digits is taken: what a 16-bit
// checkpoint will have held.
void store_values(StoredValues stored, std::span<float> values);

}  // namespace jericho
