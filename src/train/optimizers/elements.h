// Loops over the elements of a tensor whose bits do not depend on the number of threads: ranges of fixed size, and sums of
// leaves of 4096 elements combined pairwise in index order (docs/numerics.md, Training).
#pragma once

#include <span>
#include <vector>

#include "base/function_ref.h"
#include "base/index.h"
#include "memory/arena.h"
#include "ops/context.h"

namespace jericho {

inline constexpr Index kUpdateGrain = 16384;  // elements that one part of the pool's work updates
inline constexpr Index kSumLeaf = 4096;

// Sum of x^2 over [begin, end): eight chains in double, combined as a tree.
double squares(const float* x, Index count);

// leaf(begin, end) summed over all leaves of [0, count). `S` is Scratch or, to count what it takes, ScratchSize.
template <class S>
std::span<double> leaf_sums(S& scratch, Index count) {
  return scratch.template take<double>(ceil_div(count, kSumLeaf));
}
double sum_leaves(const Context& context, Index count, std::span<double> sums,
                  FunctionRef<double(Index begin, Index end)> leaf);

// The norm of x.
double norm(const Context& context, std::span<const float> x, std::span<double> sums);

}  // namespace jericho
