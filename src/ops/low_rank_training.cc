// Small products around the wide ones: see low_rank_training.h.
#include "ops/low_rank_training.h"

#include <algorithm>

#include "base/check.h"
#include "base/half.h"
#include "ops/dense.h"
#include "ops/training_rows.h"

namespace jericho {
namespace {

constexpr Index kGrain = 32;

// room.u_rows = s * what room.u holds.
void scale_rows(const Context& context, float factor, const LowRankRoom& room) {
  scale(context, factor, {room.u.data(), static_cast<std::size_t>(room.u.extent(0) * room.u.extent(1))});
  convert_rows(context, as_rows(room.u), room.u_rows);
}

// room.u_rows = s x A^T
void inner(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& x,
           const LowRankRoom& room, std::span<std::uint32_t> cells) {
  dense(context, type, x, pack_weight(context, type, w.a, WeightSide::kOutput, cells), DenseStore::kSet,
        as_rows(room.u));
  scale_rows(context, w.scale, room);
}

// room.u_rows = s dz B
void inner_gradient(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& dz,
                    const LowRankRoom& room, std::span<std::uint32_t> cells) {
  dense(context, type, dz, pack_weight(context, type, w.b, WeightSide::kInput, cells), DenseStore::kSet,
        as_rows(room.u));
  scale_rows(context, w.scale, room);
}

}  // namespace

LowRankRoom LowRankRoom::of(Index rows, Index out, Index rank) const {
  JERICHO_CHECK(rows <= wide.extent(0) && out <= wide.extent(1) && rank <= u.extent(1) && rank % 2 == 0,
                "an adapter of rank {} and {} outputs of {} rows", rank, out, rows);
  return {{wide.data(), rows, out}, {u.data(), rows, rank}, {u_rows.data, u_rows.dtype, rows, rank, rank}, partial};
}

void add_low_rank(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& x,
                  const LowRankRoom& room, std::span<std::uint32_t> cells, MatrixView<float> z) {
  inner(context, type, w, x, room, cells);
  dense(context, type, room.u_rows, pack_weight(context, type, w.b, WeightSide::kOutput, cells), DenseStore::kAdd,
        as_rows(z));
}

void gain_columns(const Context& context, std::span<const float> gain, const FloatRows& y) {
  const auto range = [&](Index begin, Index end, int) {
    for (Index t = begin; t < end; ++t) {
      if (y.dtype == DType::kF32) {
        float* row = reinterpret_cast<float*>(y.row(t));
        for (std::size_t n = 0; n < gain.size(); ++n) row[n] *= gain[n];
      } else {
        BF16* row = reinterpret_cast<BF16*>(y.row(t));
        for (std::size_t n = 0; n < gain.size(); ++n) row[n] = to_bf16(to_float(row[n]) * gain[n]);
      }
    }
  };
  parallel_for(context.pool, y.rows, kGrain, range);
}

void add_low_rank_input_gradient(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& dz,
                                 const LowRankRoom& room, std::span<std::uint32_t> cells, MatrixView<float> dx) {
  inner_gradient(context, type, w, dz, room, cells);
  dense(context, type, room.u_rows, pack_weight(context, type, w.a, WeightSide::kInput, cells), DenseStore::kAdd,
        as_rows(dx));
}

void add_low_rank_gradients(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& dz,
                            const ConstFloatRows& x, std::span<const Index> ends, const LowRankRoom& room,
                            std::span<std::uint32_t> cells, std::optional<MatrixView<float>> da,
                            std::optional<MatrixView<float>> db) {
  if (db) {
    inner(context, type, w, x, room, cells);
    add_weight_gradient(context, type, dz, room.u_rows, ends, cells, *db);
  }
  if (da) {
    inner_gradient(context, type, w, dz, room, cells);
    add_weight_gradient(context, type, room.u_rows, x, ends, cells, *da);
  }
}

void add_magnitude_gradient(const Context& context, const ConstFloatRows& dz, MatrixView<const float> z,
                            std::span<const float> magnitude, std::span<const Index> leaves, const LowRankRoom& room,
                            std::span<float> dmagnitude) {
  const std::size_t out = magnitude.size();
  const auto leaf = [&](Index index, int) {
    const auto i = static_cast<std::size_t>(index);
    float* const sums = room.partial.data() + i * out;
    std::fill_n(sums, out, 0.0f);
    for (Index t = i == 0 ? 0 : leaves[i - 1]; t < leaves[i]; ++t) {
      const float* const row = z.row(t).data();
      if (dz.dtype == DType::kF32) {
        const float* const d = reinterpret_cast<const float*>(dz.row(t));
        for (std::size_t n = 0; n < out; ++n) sums[n] += d[n] * row[n];
      } else {
        const BF16* const d = reinterpret_cast<const BF16*>(dz.row(t));
        for (std::size_t n = 0; n < out; ++n) sums[n] += to_float(d[n]) * row[n];
      }
    }
  };
  context.pool.run(static_cast<Index>(leaves.size()), leaf);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const float* const sums = room.partial.data() + i * out;
    for (std::size_t n = 0; n < out; ++n) {
      if (magnitude[n] != 0) dmagnitude[n] += sums[n] / magnitude[n];
    }
  }
}

}  // namespace jericho
