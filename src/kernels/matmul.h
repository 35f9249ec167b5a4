// y[t,n] = sum_k x[t,k] w[n,k] (+ bias[n]): the product of docs/numerics.md 3, in which the float additions have one
// order. K falls into eight segments of whole units; each segment has its own accumulator; the result is their tree.
// Inside a segment:
//   block formats  per group of 32: acc = fma(ws * xs, float(integer dot), acc), then for formats with minima
//                  acc = fma(minimum, xs * float(sum of codes of x), acc); two sub-scales combine as integers first,
//                  and two sub-scales of a minimum: acc = fma(minimum * xs, float(m0 * sum0 + m1 * sum1), acc)
//   BF16           per 32 columns: an fma chain over even k and one over odd k, both from +0; acc += even + odd
//                  (a zero point goes off the integers: float(dot - zero * sum of codes of x))
//   F16, F32, NF4, FP8
//                  16 lanes (lane = k mod 16) by fma, combined as in numerics.md 2 at the segment's end
//   w     [N,K] packed           x  [T,K] in activation_form(w.dtype), x.cols == w.padded_cols()
//   y     [T,N] fp32: only the columns of the strips [strip_begin, strip_end) are written
//   bias  N floats or null; added last
// Offsets and zero points leave the integer dots by the sums of the other side's codes: Jacob et al. 2018,
// arXiv:1712.05877, section 2.3. Does not allocate, throw or start threads: the op splits strips.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/activations.h"
#include "kernels/packed_matrix.h"
#include "tensor/view.h"

namespace jericho {

inline constexpr Index kSegments = 8;

struct SegmentColumns {
  Index begin, end;
};
// Those of w that segment i of numerics.md 3 holds, of `cols` padded ones: the last unit may reach beyond them, where
// there is nothing but zeros.
inline SegmentColumns segment_columns(const PackedMatrix& w, Index cols, Index i) {
  const Index units = ceil_div(cols, w.unit);
  return {std::min(cols, i * units / kSegments * w.unit), std::min(cols, (i + 1) * units / kSegments * w.unit)};
}

constexpr float sum_segments(const std::array<float, kSegments>& s) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

namespace ref {

void matmul(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
            MatrixView<float> y);

}  // namespace ref
}  // namespace jericho
