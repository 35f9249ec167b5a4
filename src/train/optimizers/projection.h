// The smaller dimension of a gradient cut down to a rank, as GaLore (Zhao et al. 2024, arXiv:2403.03507, section 3) and
// APOLLO (Zhu et al. 2024, arXiv:2412.05270, section 4) do: with rows >= cols from the right, R = G P^T [rows, rank],
// else from the left, R = P G [rank, cols]. P [rank, small] has the basis vectors as its rows either way.
#pragma once

#include <cstdint>
#include <span>

#include "base/philox.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/view.h"
#include "train/optimizer.h"

namespace jericho {

class Projection {
 public:
  // `rank` 0: a quarter of the smaller dimension. It is at most that dimension.
  Projection(const TrainedShape& shape, Index rank);

  [[nodiscard]] bool from_right() const { return right_; }
  [[nodiscard]] Index rank() const { return rank_; }
  [[nodiscard]] Index small() const { return small_; }
  [[nodiscard]] std::vector<Index> extents() const;  // of R
  [[nodiscard]] Index size() const { return rank_ * large_; }

  // What both of these take: `cells`.
  [[nodiscard]] Index cells() const;
  // R of the gradient.
  void project(const Context& context, MatrixView<const float> basis, MatrixView<const float> gradient,
               std::span<std::uint32_t> cells, std::span<float> r) const;
  // out = R P or P^T R, of the gradient's shape. `turned` has rank * small values, used from the left only.
  void back(const Context& context, MatrixView<const float> basis, std::span<const float> r, std::span<float> turned,
            std::span<std::uint32_t> cells, MatrixView<float> out) const;

 private:
  bool right_;
  Index small_, large_, rank_;
};

// The singular vectors of the largest singular values on the gradient's small side, from the eigenvectors of its Gram
// matrix [small, small] in double, which `gram` has room for. The largest component of each is positive.
void top_singular_vectors(const Context& context, const Projection& projection, MatrixView<const float> gradient,
                          std::span<double> gram, MatrixView<float> basis);
// What the eigenvectors take from the heap meanwhile.
Bytes singular_vectors_heap(Index small);

// Normals over sqrt(rank): element k is lane k % 4 of block k / 4 of the counter (block, purpose, refresh).
void random_basis(const Context& context, PhiloxKey key, std::uint32_t refresh, MatrixView<float> basis);

}  // namespace jericho
