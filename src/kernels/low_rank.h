// Adds products of low rank to rows that are complete (docs/numerics.md 3, "Adapters"):
//   d[t,n] = fma(u[t,r], m[r,n], ... fma(u[t,0], m[0,n], +0)), r ascending
//   y[t,n] = y[t,n] + d[t,n], and as it was where d is 0
// What an adapter adds to a module's outputs (u = s x A^T, m = B^T), and to the rows of its weight (u = s B, m = A).
// With gains g[n] and a bias b[n] (DoRA, Liu et al. 2024, arXiv:2402.09353, eq. 5), where g[n] is not 1,
//   y[t,n] = ((y[t,n] - b[n]) + d[t,n]) * g[n] + b[n], every operation rounded; without a bias, both ends are left out
//   u [T,R], m [R,N], y [T,N] fp32, rows may be strided; y overlaps neither
// Every output is one chain, so no cut of rows or columns changes a bit. Does not allocate, throw or start threads.
#pragma once

#include "tensor/view.h"

namespace jericho {

struct RowGains {               // of the columns of y
  const float* gain = nullptr;  // null: none
  const float* bias = nullptr;  // null: none
};

namespace ref {

void low_rank_add(MatrixView<const float> u, MatrixView<const float> m, const RowGains& gains, MatrixView<float> y);

}  // namespace ref
}  // namespace jericho
