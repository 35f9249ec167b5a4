// The ops that treat every row on its own: embedding, normalisation, gated activations, residual add. Rows are split
// over the pool.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/glu.h"
#include "kernels/packed_matrix.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

// y[t] = table[ids[t]] as fp32. Ids are in [0, table.rows).
void embedding(const Context& context, const PackedMatrix& table, std::span<const std::int32_t> ids,
               MatrixView<float> y);

// kernels/rms_norm.h; y may be x.
void rms_norm(const Context& context, MatrixView<const float> x, std::span<const float> weight, float eps,
              MatrixView<float> y);

// kernels/glu.h; y may be gate or up.
void glu(const Context& context, Activation activation, MatrixView<const float> gate, MatrixView<const float> up,
         MatrixView<float> y);

// kernels/soft_cap.h.
void soft_cap(const Context& context, float cap, MatrixView<float> x);

// x *= factor.
void scale(const Context& context, float factor, MatrixView<float> x);

// x[t] *= factors[t]; factors [T, 1].
void scale_rows(const Context& context, MatrixView<const float> factors, MatrixView<float> x);

// x = 1 / (1 + exp(-x)).
void sigmoid(const Context& context, MatrixView<float> x);

// x = min(max(x, -limit), limit); NaN stays. Of one row.
void clamp(float limit, std::span<float> x);

// y = x.
void copy(const Context& context, MatrixView<const float> x, MatrixView<float> y);

// Columns [first, first + n) of every head, a head's rows together: y[h T + t] = x[t, h S + first ...], for x [T, heads
// S] and y [heads T, n].
void gather_heads(const Context& context, MatrixView<const float> x, Index heads, Index first, MatrixView<float> y);

// x += dx, the residual connection.
void add(const Context& context, MatrixView<const float> dx, MatrixView<float> x);

}  // namespace jericho
