// Loops over the elements of a tensor whose bits do not depend on the number of threads: ranges of fixed size, and sums
// of leaves in index order (ops/training_rows.h).
#pragma once

#include <span>

#include "base/index.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "ops/training_rows.h"
#include "train/optimizer.h"

namespace jericho {

inline constexpr Index kUpdateGrain = 16384;  // elements that one part of the pool's work updates

// Sum of x^2: eight chains in double, combined as a tree.
double squares(const float* x, Index count);

// Room for the sums of `count` elements' leaves. `S` is Scratch or, to count what it takes, ScratchSize.
template <class S>
std::span<double> leaf_sums(S& scratch, Index count) {
  return scratch.template take<double>(ceil_div(count, kSumLeaf));
}

// The weight goes along `direction`.
void move_weight(const Context& context, const Move& move, MatrixView<const float> direction, MatrixView<float> weight);

// The norm of x.
double norm(const Context& context, std::span<const float> x, std::span<double> sums);

}  // namespace jericho
