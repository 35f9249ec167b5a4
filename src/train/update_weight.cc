// Decode, change, round: see update_weight.h.
#include "train/update_weight.h"

#include "base/check.h"
#include "kernels/file_rows.h"
#include "kernels/training_kernels.h"
#include "ops/stored_rows.h"
#include "train/optimizers/elements.h"
#include "train/shuffle.h"

namespace jericho {
namespace {

template <class S>
std::span<float> take_rows(S& scratch, const TrainedTensor& tensor, int threads) {
  return scratch.template take<float>(threads * round_up(tensor.cols, 16));
}

StoredRows view_of(const TrainedTensor& tensor, std::span<const std::byte> weight) {
  return {weight.data(), tensor.dtype, tensor.rows, tensor.cols};
}

RoundingStream stream_of(const UpdateStep& update) {
  return {.key = update.key, .update = static_cast<std::uint32_t>(update.number)};
}

void move_stored_rows(const Context& context, const TrainedTensor& tensor, const Move& move,
                      MatrixView<const float> direction, const RoundingStream& stream, std::span<std::byte> weight,
                      std::span<float> rows) {
  const FileRowKernels& decode = file_row_kernels_for(context.kernels.path);
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const StoredRows stored = view_of(tensor, weight);
  parallel_for(context.pool, tensor.rows, 4, [&](Index begin, Index end, int worker) {
    float* const w = rows.data() + worker * round_up(tensor.cols, 16);
    for (Index row = begin; row < end; ++row) {
      decode_columns(decode, stored, row, 0, tensor.cols, w);
      kernels.move_weights(move.factor, move.keep, direction.row(row).data(), tensor.cols, w);
      RoundingStream random = stream;
      random.row = row;
      kernels.round_row(tensor.dtype, w, tensor.cols, random, weight.data() + row * tensor.row_bytes().count);
    }
  });
}

}  // namespace

PhiloxKey stream_key(std::uint64_t seed, const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  const std::uint64_t key = mix64(seed ^ hash);
  return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

Bytes update_scratch(const Optimizer& optimizer, const TrainedTensor& tensor, int threads) {
  const Bytes own = optimizer.scratch_bytes(threads);
  if (tensor.dtype == DType::kF32) return own;
  ScratchSize rows;
  if (optimizer.has_direction()) {
    take_rows(rows, tensor, threads);
    return std::max(own, rows.peak());
  }
  rows.take<float>(tensor.size());
  return rows.peak() + own;
}

void update_weight(const Context& context, const Optimizer& optimizer, const UpdateStep& update,
                   const TrainedTensor& tensor, std::span<std::byte> weight, MatrixView<float> gradient,
                   std::span<std::byte> state, Scratch& scratch) {
  const ScratchScope scope(scratch);
  if (tensor.dtype == DType::kF32) {
    optimizer.step(context, update, {reinterpret_cast<float*>(weight.data()), tensor.rows, tensor.cols}, gradient,
                   state, scratch);
    return;
  }
  if (optimizer.has_direction()) {
    const Move move = optimizer.direction(context, update, gradient, state, scratch);
    move_stored_rows(context, tensor, move, gradient, stream_of(update), weight,
                     take_rows(scratch, tensor, context.pool.threads()));
    return;
  }
  const MatrixView<float> copy(scratch.take<float>(tensor.size()).data(), tensor.rows, tensor.cols);
  const FileRowKernels& decode = file_row_kernels_for(context.kernels.path);
  const StoredRows stored = view_of(tensor, weight);
  parallel_for(context.pool, tensor.rows, 4, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; ++row) decode_columns(decode, stored, row, 0, tensor.cols, copy.row(row).data());
  });
  optimizer.step(context, update, copy, gradient, state, scratch);
  round_rows(context, tensor, copy, 0, stream_of(update), weight);
}

void round_rows(const Context& context, const TrainedTensor& tensor, MatrixView<const float> values, Index first,
                const RoundingStream& stream, std::span<std::byte> rows) {
  const Index row_bytes = tensor.row_bytes().count;
  JERICHO_CHECK(std::ssize(rows) == values.extent(0) * row_bytes, "{} bytes for {} rows", rows.size(),
                values.extent(0));
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  parallel_for(context.pool, values.extent(0), 4, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; ++row) {
      RoundingStream random = stream;
      random.row = first + row;
      kernels.round_row(tensor.dtype, values.row(row).data(), tensor.cols, random, rows.data() + row * row_bytes);
    }
  });
}

}  // namespace jericho
