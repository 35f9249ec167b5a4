// Bases and products: see projection.h.
#include "train/optimizers/projection.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <Eigen/Eigenvalues>

#include "base/normals.h"
#include "train/optimizers/products.h"

namespace jericho {

Projection::Projection(const TrainedShape& shape, Index rank)
    : right_(shape.rows >= shape.cols),
      small_(std::min(shape.rows, shape.cols)),
      large_(std::max(shape.rows, shape.cols)),
      rank_(std::clamp<Index>(rank > 0 ? rank : small_ / 4, 1, small_)) {}

std::vector<Index> Projection::extents() const {
  return right_ ? std::vector<Index>{large_, rank_} : std::vector<Index>{rank_, large_};
}

Index Projection::cells() const {
  return right_ ? std::max(product_cells(small_, rank_), product_cells(rank_, small_))
                : std::max(product_cells(small_, large_), product_cells(rank_, large_));
}

void Projection::project(const Context& context, MatrixView<const float> basis, MatrixView<const float> gradient,
                         std::span<std::uint32_t> cells, std::span<float> r) const {
  if (right_) {
    multiply_transposed(context, gradient, basis, cells, {r.data(), large_, rank_});
  } else {
    multiply(context, basis, gradient, cells, {r.data(), rank_, large_});
  }
}

void Projection::back(const Context& context, MatrixView<const float> basis, std::span<const float> r,
                      std::span<float> turned, std::span<std::uint32_t> cells, MatrixView<float> out) const {
  if (right_) {
    multiply(context, MatrixView<const float>(r.data(), large_, rank_), basis, cells, out);
  } else {
    const MatrixView<float> columns(turned.data(), small_, rank_);
    transpose(context, basis, columns);
    multiply(context, columns, MatrixView<const float>(r.data(), rank_, large_), cells, out);
  }
}

namespace {

// G^T G or G G^T, whichever is the smaller; every value one chain by one thread.
void gram_matrix(const Context& context, bool right, MatrixView<const float> g, Index small, std::span<double> gram) {
  parallel_for(context.pool, small, 1, [&](Index begin, Index end, int) {
    for (Index i = begin; i < end; ++i) {
      double* const out = gram.data() + i * small;
      std::fill_n(out, small, 0.0);
      if (right) {
        for (Index row = 0; row < g.extent(0); ++row) {
          const float* const values = g.row(row).data();
          const auto factor = static_cast<double>(values[i]);
          for (Index j = 0; j < small; ++j) out[j] += factor * static_cast<double>(values[j]);
        }
      } else {
        const float* const a = g.row(i).data();
        for (Index j = 0; j < small; ++j) {
          const float* const b = g.row(j).data();
          std::array<double, 8> lanes{};
          for (Index k = 0; k < g.extent(1); ++k)
            lanes[static_cast<std::size_t>(k % 8)] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
          for (const double lane : lanes) out[j] += lane;
        }
      }
    }
  });
}

}  // namespace

void top_singular_vectors(const Context& context, const Projection& projection, MatrixView<const float> gradient,
                          std::span<double> gram, MatrixView<float> basis) {
  const Index small = projection.small();
  gram_matrix(context, projection.from_right(), gradient, small, gram);
  const Eigen::Map<const Eigen::MatrixXd> matrix(gram.data(), small, small);  // symmetric: its order does not matter
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
  for (Index k = 0; k < projection.rank(); ++k) {
    const auto vector = solver.eigenvectors().col(small - 1 - k);  // eigenvalues ascend
    Eigen::Index largest = 0;
    vector.cwiseAbs().maxCoeff(&largest);
    const double sign = vector[largest] < 0 ? -1 : 1;
    for (Index i = 0; i < small; ++i) basis.row(k)[static_cast<std::size_t>(i)] = static_cast<float>(sign * vector[i]);
  }
}

Bytes singular_vectors_heap(Index small) {
  return {(small * small + 4 * small) * static_cast<Index>(sizeof(double))};  // the eigenvectors, decomposed in place
}

void random_basis(const Context& context, PhiloxKey key, std::uint32_t refresh, MatrixView<float> basis) {
  constexpr std::uint32_t kProjection = 4;  // the purpose in the counter (docs/numerics.md)
  const Index count = basis.extent(0) * basis.extent(1);
  const double factor = 1 / std::sqrt(static_cast<double>(basis.extent(0)));
  parallel_for(context.pool, ceil_div(count, 4), 1024, [&](Index begin, Index end, int) {
    for (Index block = begin; block < end; ++block) {
      const auto low = static_cast<std::uint32_t>(block), high = static_cast<std::uint32_t>(block >> 32);
      const std::array<double, 4> normals = philox_normals({low, high, kProjection, refresh}, key);
      for (Index i = 0; i < 4 && 4 * block + i < count; ++i)
        basis.data()[4 * block + i] = static_cast<float>(factor * normals[static_cast<std::size_t>(i)]);
    }
  });
}

}  // namespace jericho
