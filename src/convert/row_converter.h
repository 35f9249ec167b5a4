// Turns rows as one format keeps them into rows as another does: their order, what their values stand for, and their
// type. Bytes are copied where nothing but the order differs. Start at convert().
#pragma once

#include <cstddef>
#include <span>
#include <stop_token>

#include "base/bytes.h"
#include "base/function_ref.h"
#include "formats/model_file.h"
#include "models/adapter.h"
#include "models/weight_reader.h"
#include "ops/context.h"
#include "tensor/dtype.h"

namespace jericho {

// What converting a list of weights a chunk at a time takes at most, each a multiple of 64.
struct ChunkSizes {
  Bytes room{};     // of one thread's values
  Bytes output{};   // of a chunk's rows as converted
  Bytes decoded{};  // of a chunk's rows that are made of several stored tensors
  // `rank`: the largest of adapters that are merged.
  void add(const WeightPlacement& weight, ModelFormat target, DType dtype, Index rank = 0);
};

// A chunk that has bytes, as it is (`row` is 0). Of one that has a decoder, its rows from `row` on, at most
// chunk_rows(), made in `decoded`.
WeightRows piece_of(const WeightRows& chunk, Index row, std::span<std::byte> decoded);

class RowConverter {  // one weight, from its file to `target`
 public:
  // `adapters` are merged: row n is written with s B A added, and under DoRA times its gain (models/adapter.h).
  RowConverter(const WeightPlacement& weight, ModelFormat target, DType dtype,
               std::span<const LowRankWeight* const> adapters = {});

  // What convert() writes for a chunk of `rows` file rows.
  [[nodiscard]] Bytes output_bytes(Index rows) const;
  // Room for one thread's values.
  [[nodiscard]] Bytes room_bytes() const;
  [[nodiscard]] Index file_rows() const { return weight_.file_rows(); }

  // The rows of one chunk in the order of the target. `rooms` holds room_bytes(), a multiple of 64, for each thread.
  void convert(const Context& context, const WeightRows& chunk, std::span<std::byte> rooms,
               std::span<std::byte> out) const;

 private:
  [[nodiscard]] bool copies(const WeightRows& chunk) const;
  void convert_row(const Context& context, const WeightRows& chunk, Index row, const std::byte* from,
                   std::span<float> values, std::byte* to) const;
  void merge(const Kernels& kernels, Index row, std::span<float> values, std::span<float> room) const;
  void transpose(const WeightRows& chunk, std::span<float> values, std::byte* out) const;
  void to_target(std::span<float> values) const;

  const WeightPlacement& weight_;
  const StoredForm& source_;
  const StoredForm& target_;
  DType dtype_;
  std::span<const LowRankWeight* const> adapters_;
};

struct ChunkRooms {               // see ChunkSizes
  std::span<std::byte> values{};  // of all threads
  std::span<std::byte> decoded{};
};

// All rows of one weight, the next of `reader`, a piece at a time: into(bytes) says where a piece of that size goes,
// made() is called when it is there.
void convert_weight(const Context& context, WeightReader& reader, const RowConverter& converter, ChunkRooms rooms,
                    const std::stop_token& stop, FunctionRef<std::span<std::byte>(Bytes)> into,
                    FunctionRef<void(std::span<const std::byte>)> made);

}  // namespace jericho
