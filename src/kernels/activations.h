// The input of a matrix product in the form the weight's type multiplies with, prepared once and used by every weight
// that reads the same rows (docs/numerics.md 3).
#pragma once

#include <cstdint>

#include "base/half.h"
#include "base/index.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace jericho {

enum class ActivationForm { kF32, kBF16, kQ8, kQ8Of128, kQ8OfRow };
inline constexpr std::size_t kActivationForms = 5;

// F32 and F16 weights and row formats multiply fp32, BF16 weights bf16, all other block formats 8-bit groups: of 32, or
// as long as the weight's own (DotSpan).
constexpr ActivationForm activation_form(DType weight) {
  if (is_row_format(weight)) return ActivationForm::kF32;
  if (weight == DType::kQZ4_128 || weight == DType::kQZ4B_128) return ActivationForm::kQ8Of128;
  if (weight == DType::kQC8) return ActivationForm::kQ8OfRow;
  return is_block(weight) ? ActivationForm::kQ8 : weight == DType::kBF16 ? ActivationForm::kBF16 : ActivationForm::kF32;
}

// Columns that share a scale in an 8-bit form of rows of `cols`.
constexpr Index scale_columns(ActivationForm form, Index cols) {
  return form == ActivationForm::kQ8Of128 ? 128 : form == ActivationForm::kQ8OfRow ? cols : 32;
}

struct Activations {  // a view; only the arrays of its form are set; `cols` is a multiple of 32, padded with zeros
  ActivationForm form{};
  Index tokens = 0;
  Index cols = 0;
  const float* f32 = nullptr;         // [T, cols]
  const BF16* bf16 = nullptr;         // [T, cols], rounded to nearest even
  const std::int8_t* q8 = nullptr;    // [T, cols] codes in [-127, 127]
  const float* scale = nullptr;       // [T, cols / 32]; groups that share one repeat it
  const float* scaled_sum = nullptr;  // [T, cols / 32] scale * float(sum of the group's codes), for formats with minima
  const std::int32_t* half_sum = nullptr;  // [T, cols / 16] sums of the codes of each half group, for the codes' offset

  // Rows [begin, begin + count) of it.
  [[nodiscard]] Activations rows(Index begin, Index count) const {
    const auto from = [&](const auto* first, Index per_row) {
      return first == nullptr ? first : first + begin * per_row;
    };
    return {form,
            count,
            cols,
            from(f32, cols),
            from(bf16, cols),
            from(q8, cols),
            from(scale, cols / 32),
            from(scaled_sum, cols / 32),
            from(half_sum, cols / 16)};
  }
};

// A row x[count], padded with zeros, as 8-bit groups of `group` columns (scale_columns()): absmax / 127 by division,
// codes by division and rint. A group with a value that is not finite gets scale NaN, so that every result of the token
// that reads it is NaN. Scales and sums are written per 32 columns whatever the group is.
struct Q8Row {
  std::int8_t* q8;
  float* scale;
  float* scaled_sum;
  std::int32_t* half_sum;
};

namespace ref {
void quantize_q8(const float* x, Index count, Index padded, Index group, const Q8Row& out);

// The bf16 form of a row: x[count] rounded to nearest even (base/half.h), then zeros up to out[padded].
void round_bf16(const float* x, Index count, Index padded, BF16* out);
}  // namespace ref

}  // namespace jericho
