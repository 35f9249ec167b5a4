// From rows as a file keeps them to the strips that matmul kernels read: the step between a chunk of a tensor and its
// place in memory. Loading packs from a staging slot, pack(); what streams is read to where it is to lie,
// pack_in_place().
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

// Where a plain matrix of a file is read to, to be packed in the same memory: whole blocks of the disk in front, and
// packed strips never beyond rows that are still to be packed.
struct InPlace {
  Bytes size{};    // of the memory, whole pages, from a multiple of 4096
  Bytes read{};    // where in it the first block goes, a multiple of 4096
  Bytes rows{};    // where the first row of the file then lies, at least `packed`
  Bytes packed{};  // where the strips begin, a multiple of 64
  Bytes needed{};  // bytes to read

  static InPlace of(const WeightPlacement& p);
  // Each thread's own room.
  static Bytes room_bytes(const WeightPlacement& p);
};

// The largest room that any of the weights added takes.
class LargestStripRoom {
 public:
  void add(const WeightPlacement& p);
  [[nodiscard]] Bytes bytes() const { return rows_ + values_; }

 private:
  Bytes rows_{}, values_{};
};

// Rows that are packed from one another: strips, and heads whose rows change places.
Index in_place_rows(const WeightPlacement& p);

// Packs rows of one matrix from chunks in the file's form, or from a decoder. Views; thread-compatible.
class MatrixPacker {
 public:
  // On the threads of `pool`, or on the calling one where it is null; `rooms` has `room` bytes for each.
  MatrixPacker(CpuPath path, ThreadPool* pool, const WeightPlacement& placement, std::span<std::byte> rooms, Bytes room,
               std::byte* matrix)
      : kernels_(file_row_kernels_for(path)), pool_(pool), p_(placement), rooms_(rooms), room_(room), matrix_(matrix) {}

  // Rows [first, first + rows) from `chunk`, which holds them.
  void pack(std::span<const std::byte> chunk, Index first, Index rows) const;
  // The same from `file_rows` in the memory of the matrix itself, as InPlace says; `first` and, but for the last of the
  // matrix, `rows` are multiples of in_place_rows(). Ascending.
  void pack_in_place(const std::byte* file_rows, Index first, Index rows) const;
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
