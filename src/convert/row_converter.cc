// Row by row: see row_converter.h.
#include "convert/row_converter.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/check.h"
#include "kernels/file_rows.h"
#include "kernels/packed_matrix.h"
#include "kernels/quantize_rows.h"
#include "models/stored_form.h"

namespace jericho {

void ChunkSizes::add(const WeightPlacement& weight, ModelFormat target, DType dtype, Index rank) {
  const RowConverter converter(weight, target, dtype);
  const Index rows = std::min(chunk_rows(weight), weight.file_rows());
  room = std::max(room, round_up(converter.room_bytes() + Bytes{4 * rank}, 64_B));
  output = std::max(output, round_up(converter.output_bytes(rows), 64_B));
  if (weight.repacking() != nullptr) decoded = std::max(decoded, round_up(weight.file_row() * rows, 64_B));
}

WeightRows piece_of(const WeightRows& chunk, Index row, std::span<std::byte> decoded) {
  if (chunk.decoder == nullptr) return chunk;
  const WeightPlacement& weight = *chunk.weight;
  const Index first = chunk.first + row;
  const Index rows = std::min(chunk_rows(weight), chunk.rows - row);
  chunk.decoder->decode(weight.form.parts.front().first_row + first, rows, decoded.data());
  return {
      &weight, first, rows, decoded.first((weight.file_row() * rows).size()), nullptr, chunk.decoder->input_order()};
}

RowConverter::RowConverter(const WeightPlacement& weight, ModelFormat target, DType dtype,
                           std::span<const LowRankWeight* const> adapters)
    : weight_(weight), source_(weight.form), target_(weight.spec.form(target)), dtype_(dtype), adapters_(adapters) {}

bool RowConverter::copies(const WeightRows& chunk) const {
  return adapters_.empty() && weight_.source->dtype == dtype_ && chunk.input_order.empty() &&
         source_.values == target_.values && source_.factor == target_.factor;
}

Bytes RowConverter::output_bytes(Index rows) const {
  if (source_.transposed != target_.transposed) return storage_bytes(dtype_, weight_.file_rows()) * weight_.file_cols();
  return storage_bytes(dtype_, weight_.file_cols()) * rows;
}

Bytes RowConverter::room_bytes() const {
  const Index longest = std::max(weight_.file_cols(), weight_.file_rows());
  const bool turns = source_.transposed != target_.transposed;
  const Index whole = turns ? weight_.file_cols() * weight_.file_rows() : 0;
  Index rank = 0;
  for (const LowRankWeight* adapter : adapters_) rank = std::max(rank, adapter->rank());
  return round_up(Bytes{4 * (2 * longest + whole + rank)}, 64_B);
}

void RowConverter::to_target(std::span<float> values) const {
  const bool means_another = source_.values != target_.values;
  if (means_another) restore_values(source_.values, values);
  if (source_.factor != target_.factor)
    for (float& v : values) v = v / source_.factor * target_.factor;
  if (means_another) store_values(target_.values, values);
}

// Adapters were trained beside the weight without the factor that some formats keep it times.
void RowConverter::merge(const Kernels& kernels, Index row, std::span<float> values, std::span<float> room) const {
  if (source_.factor != 1)
    for (float& v : values) v /= source_.factor;
  for (const LowRankWeight* adapter : adapters_) {
    add_to_weight_row(kernels, *adapter, row, values, room.first(static_cast<std::size_t>(adapter->rank())));
    if (adapter->gain.empty()) continue;
    for (float& v : values) v *= adapter->gain[static_cast<std::size_t>(row)];
  }
  if (source_.factor != 1)
    for (float& v : values) v *= source_.factor;
}

void RowConverter::convert_row(const Context& context, const WeightRows& chunk, Index row_of_weight,
                               const std::byte* from, std::span<float> values, std::byte* to) const {
  const FileRowKernels& kernels = file_row_kernels_for(context.kernels.path);
  const Index cols = weight_.file_cols();
  if (chunk.input_order.empty()) {
    kernels.dequantize_file_row(weight_.source->dtype, cols, from, values.data());
  } else {
    dequantize_in_input_order(weight_.source->dtype, cols, chunk.input_order, from, values.data() + cols,
                              values.data());
  }
  if (!adapters_.empty()) {
    merge(context.kernels, row_of_weight, values.first(static_cast<std::size_t>(cols)),
          values.subspan(static_cast<std::size_t>(2 * cols)));
  }
  to_target(values.first(static_cast<std::size_t>(cols)));
  const bool is_vector = weight_.spec.rows == 1 && !weight_.spec.is_matrix();
  if (is_vector &&
      (source_.pairs.count > 0 || target_.pairs.count > 0)) {  // a bias is ordered as the rows it belongs to
    const std::span<float> ordered = values.subspan(static_cast<std::size_t>(cols), static_cast<std::size_t>(cols));
    for (Index c = 0; c < cols; ++c) {
      ordered[static_cast<std::size_t>(file_row_of(target_.pairs, c))] =
          values[static_cast<std::size_t>(file_row_of(source_.pairs, c))];
    }
    kernels.quantize_row(dtype_, ordered.data(), cols, to);
    return;
  }
  kernels.quantize_row(dtype_, values.data(), cols, to);
}

void RowConverter::transpose(const WeightRows& chunk, std::span<float> values, std::byte* out) const {
  const Index rows = weight_.file_rows(), cols = weight_.file_cols();
  JERICHO_CHECK(chunk.rows == rows, "a transposed weight comes in one chunk, not {} of {} rows", chunk.rows, rows);
  float* all = values.data();
  float* column = all + rows * cols;
  for (Index r = 0; r < rows; ++r) {
    dequantize_in_input_order(weight_.source->dtype, cols, chunk.input_order,
                              chunk.bytes.data() + r * weight_.file_row().count, column, all + r * cols);
  }
  for (Index c = 0; c < cols; ++c) {
    for (Index r = 0; r < rows; ++r) column[r] = all[r * cols + c];
    to_target({column, static_cast<std::size_t>(rows)});
    quantize_row(dtype_, column, rows, out + c * storage_bytes(dtype_, rows).count);
  }
}

void RowConverter::convert(const Context& context, const WeightRows& chunk, std::span<std::byte> rooms,
                           std::span<std::byte> out) const {
  JERICHO_CHECK(output_bytes(chunk.rows).size() == out.size(), "{} bytes for {} rows", out.size(), chunk.rows);
  const auto room_of = [&](int worker) {
    return std::span(reinterpret_cast<float*>(rooms.data() + worker * room_bytes().count), room_bytes().size() / 4);
  };
  if (source_.transposed != target_.transposed) {
    transpose(chunk, room_of(0), out.data());
    return;
  }
  const Bytes to_bytes = storage_bytes(dtype_, weight_.file_cols());
  const Index first = chunk.first;  // a multiple of the heads of both orders
  const auto row = [&](Index r, int worker) {
    const Index from_row = weight_.spec.is_matrix() ? file_row_of(source_.pairs, first + r) - first : r;
    const Index to_row = weight_.spec.is_matrix() ? file_row_of(target_.pairs, first + r) - first : r;
    const std::byte* from = chunk.bytes.data() + from_row * weight_.file_row().count;
    std::byte* to = out.data() + to_row * to_bytes.count;
    if (copies(chunk) &&
        (weight_.spec.is_matrix() || weight_.spec.rows > 1 || source_.pairs.count == target_.pairs.count)) {
      std::memcpy(to, from, to_bytes.size());
    } else {
      convert_row(context, chunk, first + r, from, room_of(worker), to);
    }
  };
  context.pool.run(chunk.rows, std::ref(row));
}

void convert_weight(const Context& context, WeightReader& reader, const RowConverter& converter, ChunkRooms rooms,
                    const std::stop_token& stop, FunctionRef<std::span<std::byte>(Bytes)> into,
                    FunctionRef<void(std::span<const std::byte>)> made) {
  for (Index rows = 0; rows < converter.file_rows();) {
    const WeightRows read = reader.next(stop).value();
    for (Index row = 0; row < read.rows;) {
      const WeightRows piece = piece_of(read, row, rooms.decoded);
      const std::span<std::byte> out = into(converter.output_bytes(piece.rows));
      converter.convert(context, piece, rooms.values, out);
      made(out);
      row += piece.rows;
    }
    rows += read.rows;
  }
}

}  // namespace jericho
