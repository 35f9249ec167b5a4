// Row by row: see first_adapters.h.
#include "train/first_adapters.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/philox.h"
#include "kernels/file_rows.h"
#include "models/adapter.h"
#include "train/first_weights.h"
#include "train/update_weight.h"

namespace jericho {
namespace {

// (w >> 8, + 0.5) 2^-24 of word k of the tensor's stream, from within (-bound, bound).
void fill_uniform(const PhiloxKey& key, double bound, std::span<float> values) {
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::uint64_t block = k / 4;
    const PhiloxCounter words =
        philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), kInitPurpose, 0}, key);
    const double uniform = (static_cast<double>(words[k % 4] >> 8) + 0.5) * 0x1p-24;
    values[k] = static_cast<float>(bound * (2 * uniform - 1));
  }
}

Index room_values(const TrainingLayout& layout) {
  Index widest = 0;
  for (const TrainedTensor& t : layout.tensors()) widest = std::max(widest, t.cols);
  return round_up(widest + layout.adapter_rank(), 16);
}

// gain(adapter, row, norm of it in W + s B A) for every row of what has magnitudes.
template <class Gain>
void over_norms(const Context& context, const TrainingLayout& layout, std::span<const StoredRows> weights,
                std::span<std::byte> trained, Scratch& scratch, Gain gain) {
  const ScratchScope scope(scratch);
  const Index room = room_values(layout);
  const std::span<float> rooms = scratch.take<float>(context.pool.threads() * room);
  const FileRowKernels& decode = file_row_kernels_for(context.kernels.path);
  for (std::size_t i = 0; i < layout.model_tensors(); ++i) {
    const TrainedAdapter* adapter = layout.adapter(static_cast<Index>(i));
    if (adapter == nullptr || adapter->gain < 0) continue;
    const StoredRows& base = weights[i];
    const MatrixView<float> a = layout.weight(trained, adapter->a), b = layout.weight(trained, adapter->b);
    const Index rank = a.extent(0), cols = base.cols;
    const auto row = [&](Index n, int worker) {
      float* const values = rooms.data() + worker * room;
      float* const u = values + cols;
      decode_columns(decode, base, n, 0, cols, values);
      for (Index r = 0; r < rank; ++r) u[r] = adapter->scale * b(n, r);
      context.kernels.low_rank_add({u, 1, rank}, a, {}, {values, 1, cols});
      gain(*adapter, n, row_norm(context.kernels.path, {values, static_cast<std::size_t>(cols)}));
    };
    context.pool.run(base.rows, std::ref(row));
  }
}

}  // namespace

Bytes gain_scratch(const TrainingLayout& layout, int threads) {
  return layout.has_adapters() ? scratch_bytes<float>(threads * room_values(layout)) : 0_B;
}

void make_first_adapters(const Context& context, const TrainingLayout& layout, std::uint64_t seed,
                         std::span<const StoredRows> weights, std::span<std::byte> trained, Scratch& scratch) {
  for (std::size_t i = 0; i < layout.model_tensors(); ++i) {
    const TrainedAdapter* adapter = layout.adapter(static_cast<Index>(i));
    if (adapter == nullptr) continue;
    const TrainedTensor &a = layout.tensor(adapter->a), &b = layout.tensor(adapter->b);
    std::fill_n(layout.weight(trained, adapter->b).data(), b.size(), 0.0f);
    fill_uniform(stream_key(seed, a.name), 1 / std::sqrt(static_cast<double>(a.cols)),
                 {layout.weight(trained, adapter->a).data(), static_cast<std::size_t>(a.size())});
  }
  over_norms(context, layout, weights, trained, scratch, [&](const TrainedAdapter& adapter, Index n, float norm) {
    layout.weight(trained, adapter.magnitude).data()[n] = norm;
  });
}

void compute_gains(const Context& context, const TrainingLayout& layout, std::span<const StoredRows> weights,
                   std::span<std::byte> trained, Scratch& scratch) {
  over_norms(context, layout, weights, trained, scratch, [&](const TrainedAdapter& adapter, Index n, float norm) {
    const float magnitude = layout.weight(trained, adapter.magnitude).data()[n];
    layout.weight(trained, adapter.gain).data()[n] = dora_gain(magnitude, norm);
  });
}

}  // namespace jericho
