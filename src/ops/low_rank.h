// What adapters add to the outputs of linear modules (kernels/low_rank.h): u = s (x A^T) is a product of
// docs/numerics.md 3 with an F32 weight, then y gains u B^T. Beside the base's own product, whatever its format is.
// Start at add_low_rank_each().
#pragma once

#include <span>

#include "kernels/low_rank.h"
#include "kernels/packed_matrix.h"
#include "ops/context.h"
#include "ops/linear.h"
#include "tensor/view.h"

namespace jericho {

struct LowRankWeight {                       // views
  PackedMatrix a{};                          // F32 [rank, in]
  MatrixView<const float> b{nullptr, 0, 0};  // [rank, out]: B transposed
  std::span<const float> gain{};             // [out] of DoRA, or none
  float scale = 0;

  [[nodiscard]] Index rank() const { return a.rows; }
  [[nodiscard]] bool any() const { return a.rows > 0; }
};

struct LowRankTask {  // y[first + t] gains what the rows first + t of the input give, t < rows
  const LowRankWeight* w = nullptr;
  Index first = 0;
  Index rows = 0;
  MatrixView<float> y{nullptr, 0, 0};  // [T, out], factor * (x w^T + bias)
  std::span<const float> bias{};       // of the base
  float factor = 1;
  MatrixView<float> u{nullptr, 0, 0};  // [rows, rank] working space
};

// The forms that a model's rows take where adapters of some rank may read them.
inline ActivationForms with_adapters(ActivationForms forms, Index rank) {
  forms.f32 = forms.f32 || rank > 0;
  return forms;
}

// Tasks whose y are not the same rows of the same matrix: all of them are split over the pool together. The input has
// the form of F32 weights.
void add_low_rank_each(const Context& context, std::span<const LowRankTask> tasks, const LinearInput& x);

}  // namespace jericho
