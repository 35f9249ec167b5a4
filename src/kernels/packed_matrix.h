// How a weight matrix lies in memory: the form every matmul kernel reads, packed while the file is read.
//
// Rows come in strips of 16, the last one padded with zero rows. A block format keeps a strip's codes and scales lane
// by lane, so that sixteen rows are one vector:
//   codes   per group of 32 columns, in planes: the size of a code in binary, the widest plane has the lowest bits
//           (5 bits are planes of 4 and 1). A "quad" t (0-7) is columns 4t..4t+3 of the group. A plane of w bits has w
//           vectors of 64 bytes; byte r * 4 + b of each belongs to row r of the strip and column b of a quad, vector
//           v holds the quads v, v + w, v + 2w... from its low bits up
//   scales  after all codes of the strip, per block: each field of kScaleFields for rows 0-15 side by side
// Codes and scales together take exactly the bytes of the file, but for formats that say otherwise (kGrowth). Plain
// types (F32, F16, BF16) keep their rows one after the other, each padded with zeros to a multiple of 32 columns; so do
// row formats (row_formats.h), whose rows are whole blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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
  // Column c holds the weights of input input_order[c]; empty: of input c. Kernels need not know: they read activations
  // that are in the same order (ops/linear.h).
  std::span<const std::int32_t> input_order{};

  [[nodiscard]] Index strips() const { return ceil_div(rows, kStripRows); }
  [[nodiscard]] Index padded_cols() const { return is_block(dtype) ? cols : round_up(cols, 32); }
};

// Element types that a PackedMatrix may have: every block format, F32, F16 and BF16.
constexpr bool is_packable(DType dtype) {
  return is_block(dtype) || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// The unit of numerics.md 3 for a matrix of this type: 32, or the block length where that is larger.
Index default_unit(DType dtype);

// Bytes of one strip, and of a matrix of `rows` rows; a multiple of 64, so that strips start on cache lines.
Bytes strip_bytes(DType dtype, Index cols);
Bytes packed_bytes(DType dtype, Index rows, Index cols);

// Packs `rows` (at most 16) file rows, `row_bytes` apart, into the strip at `strip`. Absent rows become zeros.
void pack_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip);

// Row `row` of the matrix as fp32, out[cols] in the order of the inputs: the value each format defines, in one or two
// rounded operations (block_formats.h).
void dequantize_row(const PackedMatrix& matrix, Index row, float* out);

// The same from a file row that was not packed.
void dequantize_file_row(DType dtype, Index cols, const std::byte* file_row, float* out);

}  // namespace jericho
