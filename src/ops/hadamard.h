// The orthonormal Hadamard transform of each head of a row: with H symmetric and H H = I, q.k = (H q).(H k), and an
// output of values that were stored as H v is turned back by another H. It spreads a large column over all of them, so
// that few bits lose less (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456). Of heads whose size is no power of two,
// each part of the largest power of two that divides it is transformed on its own.
#pragma once

#include <span>

#include "base/index.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

// What is transformed together: 1 where head_dim is odd.
constexpr Index hadamard_size(Index head_dim) { return head_dim & -head_dim; }

// x [T, heads * head_dim] in place. In n = hadamard_size(head_dim) values: for h = 1, 2, 4, ... below n, pairs (a, b)
// that are h apart become (a + b, a - b); then all times float(1 / sqrt(n)).
void hadamard(const Context& context, MatrixView<float> x, Index head_dim);
// One row of it.
void hadamard(std::span<float> row, Index head_dim);

}  // namespace jericho
