// The products of low-rank adapters in training (LoRA: Hu et al. 2021, arXiv:2106.09685, section 4.1; DoRA: Liu et al.
// 2024, arXiv:2402.09353, sections 4.1 and 4.3), beside the dense ones of the frozen weight W [out, in]:
//   z = x W^T + s (x A^T) B^T     y = z, or g[n] z[t,n] under DoRA, with g = magnitude / norms of the rows of W + s B A
// The norms are constants of the step (their gradient is left out, as in section 4.3). With dz = dy, or dy g:
//   dB += dz^T (s x A^T)     du = s dz B     dA += du^T x     dx = dz W + du A
//   dmagnitude[n] += sum_t dz[t,n] z[t,n] / magnitude[n]
// x A^T and du are computed again where they are read, and kept nowhere. Sums over tokens are cut as all others are.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/dense.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

struct TrainedLowRank {                      // views
  MatrixView<const float> a{nullptr, 0, 0};  // [rank, in]
  MatrixView<const float> b{nullptr, 0, 0};  // [out, rank]
  float scale = 0;
  std::span<const float> gain{}, magnitude{};  // [out] of DoRA

  [[nodiscard]] Index rank() const { return a.extent(0); }
};

// Views of somebody's scratch, for modules of up to `widest` outputs and `rank`, which is even.
struct LowRankRoom {
  MatrixView<float> wide{nullptr, 0, 0};  // [T, widest]: z, where y has no place for it
  MatrixView<float> u{nullptr, 0, 0};     // [T, rank]
  FloatRows u_rows{};                     // the same in the compute type
  std::span<float> partial{};             // [leaves, widest]

  template <class S>
  static LowRankRoom take(S& scratch, DType type, Index rows, Index leaves, Index widest, Index rank) {
    LowRankRoom room;
    room.wide = {scratch.template take<float>(rows * widest).data(), rows, widest};
    room.u = {scratch.template take<float>(rows * rank).data(), rows, rank};
    const Index bytes = type == DType::kF32 ? 4 : 2;
    room.u_rows = {scratch.template take<std::byte>(rows * rank * bytes).data(), type, rows, rank, rank};
    room.partial = scratch.template take<float>(leaves * widest);
    return room;
  }
  // For `rows` tokens and a module's own sizes.
  [[nodiscard]] LowRankRoom of(Index rows, Index out, Index rank) const;
};

// z += s (x A^T) B^T. `cells` holds either matrix packed.
void add_low_rank(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& x,
                  const LowRankRoom& room, std::span<std::uint32_t> cells, MatrixView<float> z);
// y[t,n] *= gain[n], in y's type.
void gain_columns(const Context& context, std::span<const float> gain, const FloatRows& y);
// dx += (s dz B) A.
void add_low_rank_input_gradient(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& dz,
                                 const LowRankRoom& room, std::span<std::uint32_t> cells, MatrixView<float> dx);
// `ends` of token_blocks(); a gradient without a place is not made.
void add_low_rank_gradients(const Context& context, DType type, const TrainedLowRank& w, const ConstFloatRows& dz,
                            const ConstFloatRows& x, std::span<const Index> ends, const LowRankRoom& room,
                            std::span<std::uint32_t> cells, std::optional<MatrixView<float>> da,
                            std::optional<MatrixView<float>> db);
// `leaves` of token_blocks(.., kLeafTokens). A magnitude of 0 has no gradient.
void add_magnitude_gradient(const Context& context, const ConstFloatRows& dz, MatrixView<const float> z,
                            std::span<const float> magnitude, std::span<const Index> leaves, const LowRankRoom& room,
                            std::span<float> dmagnitude);

}  // namespace jericho
