// How a weight matrix lies in memory: the form every matmul kernel reads, packed while the file is read.
//
// Rows come in strips of 16, the last one padded with zero rows. A block format keeps a strip's codes and scales lane by
// lane, so that sixteen rows are one vector:
//   codes   per group of 32 columns, one or two planes. A "quad" t (0-7) is columns 4t..4t+3 of the group; in each plane
//           byte r * 4 + b belongs to row r of the strip and column b of a quad:
//             4 bits  four 64-byte vectors; vector v holds quad v in the low nibbles, quad v + 4 in the high ones
//             1 bit   one vector after the nibbles (5-bit codes): bit t is the fifth bit of quad t
//             2 bits  two vectors after the nibbles (6-bit codes): bits 2s, 2s+1 of vector u belong to quad 4u + s
//             8 bits  eight vectors, one per quad
//   scales  after all codes of the strip, per block: each field of kScaleFields for rows 0-15 side by side
// Codes and scales together take exactly the bytes of the file. Plain types (F32, F16, BF16) keep their rows one after
// the other, each padded with zeros to a multiple of 32 columns.
#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/index.h"
#include "tensor/dtype.h"

namespace jericho {

inline constexpr Index kStripRows = 16;

struct PackedMatrix {  // a view: the weight store owns the bytes
  DType dtype{};
  Index rows = 0;
  Index cols = 0;  // as in the file
  Index unit = 0;  // columns per unit of the eight segments (docs/numerics.md 3): a multiple of 32 and of the block
  const std::byte* data = nullptr;

  [[nodiscard]] Index strips() const { return ceil_div(rows, kStripRows); }
  [[nodiscard]] Index padded_cols() const { return is_block(dtype) ? cols : round_up(cols, 32); }
};

// Element types that a PackedMatrix may have: every block format, F32, F16 and BF16.
bool is_packable(DType dtype);

// The unit of numerics.md 3 for a matrix of this type: 32, or the block length where that is larger.
Index default_unit(DType dtype);

// Bytes of one strip, and of a matrix of `rows` rows; a multiple of 64, so that strips start on cache lines.
Bytes strip_bytes(DType dtype, Index cols);
Bytes packed_bytes(DType dtype, Index rows, Index cols);

// Packs `rows` (at most 16) file rows, `row_bytes` apart, into the strip at `strip`. Absent rows become zeros.
void pack_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip);

// Row `row` of the matrix as fp32, out[cols]: the value each format defines, in one or two rounded operations
// (block_formats.h).
void dequantize_row(const PackedMatrix& matrix, Index row, float* out);

// The same from a file row that was not packed.
void dequantize_file_row(DType dtype, Index cols, const std::byte* file_row, float* out);

}  // namespace jericho
