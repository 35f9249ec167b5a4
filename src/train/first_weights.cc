// A row of normals at a time: see first_weights.h.
#include "train/first_weights.h"

#include <algorithm>
#include <cmath>

#include "base/normals.h"
#include "kernels/training_kernels.h"
#include "train/update_weight.h"

namespace jericho {
namespace {

// out[count]: values [first, first + count) of the tensor's stream.
void normals(const PhiloxKey& key, double deviation, Index first, Index count, float* out) {
  for (Index i = first / 4 * 4; i < first + count; i += 4) {
    const auto block = static_cast<std::uint64_t>(i / 4);
    const auto values = philox_normals(
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), kInitPurpose, 0}, key);
    for (Index lane = 0; lane < 4; ++lane) {
      const Index at = i + lane - first;
      if (at >= 0 && at < count) out[at] = static_cast<float>(deviation * values[static_cast<std::size_t>(lane)]);
    }
  }
}

template <class S>
std::span<float> take_rows(S& scratch, const TrainingLayout& layout, int threads) {
  Index longest = 0;
  for (const TrainedTensor& t : layout.tensors()) {
    if (t.dtype != DType::kF32) longest = std::max(longest, t.cols);
  }
  return scratch.template take<float>(threads * longest);
}

}  // namespace

Bytes first_weights_scratch(const TrainingLayout& layout, int threads) {
  ScratchSize size;
  take_rows(size, layout, threads);
  return size.peak();
}

void make_first_weights(const Context& context, const ModelConfig& config, const TrainingLayout& layout,
                        const FirstWeights& how, std::span<std::byte> weights, Scratch& scratch) {
  const ScratchScope scope(scratch);
  const std::span<float> rows = take_rows(scratch, layout, context.pool.threads());
  const Index room = std::ssize(rows) / context.pool.threads();
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  const auto executed = static_cast<double>(config.num_hidden_layers * config.layer_passes);
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    const TrainedTensor& t = layout.tensors()[i];
    const auto index = static_cast<Index>(i);
    if (!t.is_matrix()) {
      std::fill_n(layout.weight(weights, index).data(), t.size(), t.neutral);
      continue;
    }
    double deviation = static_cast<double>(how.deviation);
    if (t.residual_output && how.scaled) deviation /= std::sqrt(2 * executed);
    const PhiloxKey key = stream_key(how.seed, t.name);
    std::byte* const stored = layout.stored(weights, index).data();
    parallel_for(context.pool, t.rows, 4, [&](Index begin, Index end, int worker) {
      for (Index row = begin; row < end; ++row) {
        std::byte* const to = stored + row * t.row_bytes().count;
        float* const values = t.dtype == DType::kF32 ? reinterpret_cast<float*>(to) : rows.data() + worker * room;
        normals(key, deviation, row * t.cols, t.cols, values);
        if (t.dtype != DType::kF32) kernels.round_row(t.dtype, values, t.cols, {.key = key, .row = row}, to);
      }
    });
  }
}

}  // namespace jericho
