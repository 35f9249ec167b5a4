// The rows of a weight as training stores them: fp32, or any type of tensor/dtype.h that has values (a half type, the
// blocks of a frozen base, eight bits that are trained). No fp32 copy of them exists: whoever reads one decodes a tile
// or a row into scratch just before. Start at StoredRows; dense.h packs them, training_rows.h embeds with them.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/file_rows.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace jericho {

// Bytes of a stored row: whole blocks, the last one perhaps longer than the row.
Bytes stored_row_bytes(DType dtype, Index cols);

// Decodes rows whose bytes alone do not say their values: scales that lie elsewhere, for one.
class ColumnDecoder {
 public:
  virtual ~ColumnDecoder() = default;
  // As decode_columns().
  virtual void decode(Index row, Index first, Index count, float* out) const = 0;
};

struct StoredRows {  // a view
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  Index rows = 0;
  Index cols = 0;
  Bytes row_stride{};
  const ColumnDecoder* decoder = nullptr;  // null: the type says all

  StoredRows() = default;
  // Rows that follow one another.
  StoredRows(const std::byte* bytes, DType type, Index row_count, Index col_count)
      : data(bytes), dtype(type), rows(row_count), cols(col_count), row_stride(stored_row_bytes(type, col_count)) {}
  StoredRows(MatrixView<const float> w)  // NOLINT(google-explicit-constructor): the same rows
      : data(reinterpret_cast<const std::byte*>(w.data())),
        rows(w.extent(0)),
        cols(w.extent(1)),
        row_stride{w.row_stride() * 4} {}

  [[nodiscard]] const std::byte* row(Index i) const { return data + i * row_stride.count; }
  // Of fp32 rows alone.
  [[nodiscard]] MatrixView<const float> floats() const;
};

// Columns of a tile: whole blocks of every type.
inline constexpr Index kTileRows = 64, kTileCols = 512;
// fp32 values that decoding takes for each thread.
inline constexpr Index kTileValues = kTileRows * kTileCols;

// out[count]: columns [first, first + count) of a row as fp32; `first` is a multiple of kTileCols.
void decode_columns(const FileRowKernels& kernels, const StoredRows& w, Index row, Index first, Index count,
                    float* out);

}  // namespace jericho
