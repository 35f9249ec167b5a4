// From rows as a file keeps them to the strips that matmul kernels read: the step between a chunk of a tensor and its place
// in memory, shared by loading and streaming. Start at MatrixPacker::pack().
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "kernels/file_rows.h"
#include "models/weight_reader.h"
#include "models/weights.h"

namespace jericho {

// Each thread's own room while a strip is packed: 16 rows in the file's type or the memory's, and one row of values.
struct StripRoom {
  static Bytes strip_rows_bytes(const WeightPlacement& p);
  static Bytes rows_bytes(const WeightPlacement& p);  // decoded rows have their own place before they are converted
  static Bytes values_bytes(const WeightPlacement& p);
};

// The largest room that any of the weights added takes.
class LargestStripRoom {
 public:
  void add(const WeightPlacement& p);
  [[nodiscard]] Bytes bytes() const { return rows_ + values_; }

 private:
  Bytes rows_{}, values_{};
};

// Packs rows of one matrix from chunks in the file's form, or from a decoder. Views; thread-compatible.
class MatrixPacker {
 public:
  // On the threads of `pool`, or on the calling one where it is null; `rooms` has `room` bytes for each.
  MatrixPacker(CpuPath path, ThreadPool* pool, const WeightPlacement& placement, std::span<std::byte> rooms, Bytes room,
               std::byte* matrix)
      : kernels_(file_row_kernels_for(path)), pool_(pool), p_(placement), rooms_(rooms), room_(room), matrix_(matrix) {}

  // Rows [first, first + rows) from `chunk`, which holds them.
  void pack(std::span<const std::byte> chunk, Index first, Index rows) const;
  void pack_decoded(const RowDecoder& decoder) const;
  // Of blocks that the file keeps transposed: their values go to `turned` first, row after row of the file.
  void pack_turned(const WeightRows& stored, float* turned) const;

 private:
  void each(Index parts, FunctionRef<void(Index part, int worker)> body) const;
  void pack_decoded_rows(const RowDecoder& decoder, Index first, Index count, std::byte* room, std::byte* to) const;
  void pack_rows(std::span<const std::byte> chunk, Index begin, Index count, std::byte* room, std::byte* to) const;
  // Rows of the weight are columns of the file.
  void gather_columns(const std::byte* rows, Index begin, Index count, std::byte* room) const;
  [[nodiscard]] float* row_room(std::byte* room) const;
  [[nodiscard]] const std::byte* file_row(std::span<const std::byte> chunk, Index row) const;

  const FileRowKernels& kernels_;
  ThreadPool* pool_;
  const WeightPlacement& p_;
  std::span<std::byte> rooms_;
  Bytes room_;
  std::byte* matrix_;
};

}  // namespace jericho
