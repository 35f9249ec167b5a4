// y = x W^T (+ bias) over the pool, for a weight of any type. Several weights often read the same rows (q, k and v;
// gate and up): LinearInput holds those rows in every form the model's weights multiply with, prepared once. Start at
// linear(). Products that read the same rows share one go over the threads (linear_each()), and so do gate, up and the
// activation between them (linear_gated()). Scratch is taken from the caller: LinearBuffers counts and takes it with
// the same code. A weight whose columns have an order of their own (PackedMatrix::input_order) reads the rows in that
// order: they are gathered and rounded for it when it multiplies, since every such weight may have another.
#pragma once

#include <algorithm>
#include <span>

#include "base/function_ref.h"
#include "kernels/activations.h"
#include "kernels/glu.h"
#include "kernels/packed_matrix.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

struct ActivationForms {  // which forms a model's weights need
  bool f32 = false;
  bool bf16 = false;
  bool q8 = false;
  bool q8_of_128 = false;
  bool q8_of_row = false;
  bool ordered_q8 = false;  // in the order of a weight's columns
  void add(DType weight);
  void add_ordered(DType weight);  // of a weight whose columns have an order of their own
};

struct Q8Buffers {
  template <class S>
  static Q8Buffers take(S& scratch, Index tokens, Index padded) {
    Q8Buffers buffers;
    buffers.q8 = scratch.template take<std::int8_t>(tokens * padded);
    buffers.scale = scratch.template take<float>(tokens * padded / 32);
    buffers.scaled_sum = scratch.template take<float>(tokens * padded / 32);
    buffers.half_sum = scratch.template take<std::int32_t>(tokens * padded / 16);
    return buffers;
  }
  // From column `first` of row t on; a multiple of 32.
  [[nodiscard]] Q8Row row(Index t, Index padded, Index first = 0) const {
    const Index at = t * padded + first;
    return {q8.data() + at, scale.data() + at / 32, scaled_sum.data() + at / 32, half_sum.data() + at / 16};
  }
  void set(Activations& a) const {
    a.q8 = q8.data();
    a.scale = scale.data();
    a.scaled_sum = scaled_sum.data();
    a.half_sum = half_sum.data();
  }

  std::span<std::int8_t> q8{};
  std::span<float> scale{};
  std::span<float> scaled_sum{};
  std::span<std::int32_t> half_sum{};
};

struct LinearBuffers {  // room for `tokens` rows of `cols` columns in the given forms; views of somebody's scratch
  template <class S>    // Scratch or ScratchSize
  static LinearBuffers take(S& scratch, ActivationForms forms, Index tokens, Index cols) {
    const Index padded = round_up(cols, 32);
    LinearBuffers buffers;
    if (forms.f32 && padded != cols) buffers.f32 = scratch.template take<float>(tokens * padded);
    if (forms.bf16) buffers.bf16 = scratch.template take<BF16>(tokens * padded);
    if (forms.q8) buffers.q8 = Q8Buffers::take(scratch, tokens, padded);
    if (forms.q8_of_128 && cols % 128 == 0) buffers.q8_of_128 = Q8Buffers::take(scratch, tokens, padded);
    if (forms.q8_of_row) buffers.q8_of_row = Q8Buffers::take(scratch, tokens, padded);
    if (forms.ordered_q8) buffers.ordered_q8 = Q8Buffers::take(scratch, tokens, padded);
    return buffers;
  }

  std::span<float> f32{};  // only where rows need padding
  std::span<BF16> bf16{};
  Q8Buffers q8{};
  Q8Buffers q8_of_128{};  // only where rows have whole groups: else no weight that reads them can want it
  Q8Buffers q8_of_row{};
  Q8Buffers ordered_q8{};  // of the weight that multiplies
};

class LinearInput {  // a view of x and of the buffers, valid until either changes
 public:
  // Converts x [T,K] into each of `forms`. Rows are split over the pool.
  LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms, const LinearBuffers& buffers);
  // The same where the rows are made on the way: make(t) writes x's row t, just before it is converted.
  using MakeRow = FunctionRef<void(Index t)>;
  LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms, const LinearBuffers& buffers,
              MakeRow make)
      : LinearInput(context, x, forms, buffers, &make) {}

  [[nodiscard]] const Activations& as(ActivationForm form) const {
    return activations_[static_cast<std::size_t>(form)];
  }

  // Rows [first, first + count) with column c from column order[c] of x, in the 8-bit groups that `weight` multiplies
  // with; valid until the next call. Rows are split over the pool.
  [[nodiscard]] Activations in_order(const Context& context, DType weight, std::span<const std::int32_t> order,
                                     Index first, Index count) const;

 private:
  LinearInput(const Context& context, MatrixView<const float> x, ActivationForms forms, const LinearBuffers& buffers,
              const MakeRow* make);

  MatrixView<const float> x_;
  Q8Buffers ordered_q8_;
  std::array<Activations, kActivationForms> activations_{};
};

// y [T, w.rows]; bias has w.rows values or is empty. Strips of 16 rows are split over the pool.
void linear(const Context& context, const PackedMatrix& w, const LinearInput& x, std::span<const float> bias,
            MatrixView<float> y);

struct LinearTask {  // y [n, w.rows] = factor * (x w^T + bias) of the rows [first, first + n) of an input; views
  const PackedMatrix* w;
  Index first;
  MatrixView<float> y;
  std::span<const float> bias{};  // w.rows values, or none
  float factor = 1;
};

// Many products of different weights at once: the strips of all of them are split over the pool together, so that small
// weights do not wait for one another.
void linear_each(const Context& context, std::span<const LinearTask> tasks, const LinearInput& x);

struct GatedTask {  // of as many outputs, of the same rows of the input
  LinearTask gate, up;
};

// gate.y = act(gate.y) * up.y (kernels/glu.h), up.y being working space: whoever multiplies some strips of both also
// gates their columns, while they are in its cache.
void linear_gated(const Context& context, Activation activation, std::span<const GatedTask> tasks,
                  const LinearInput& x);

}  // namespace jericho
