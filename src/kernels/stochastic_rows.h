// Rounding fp32 values at random to what a trained weight is stored in: the mean of what a value becomes is the value,
// so that steps below half of a unit add up in place of being lost (Gupta et al. 2015, arXiv:1502.02551, section 3.1).
// The random word of column c is word c % 4 of philox4x32 (base/philox.h) at block row * ceil(cols / 4) + c / 4 of the
// tensor's stream, for purpose 3 and the number of the update: a function of the weight's place, not of threads.
//   BF16  bits = bits(x) + (word & 0xffff), of which the upper half is kept; infinities and NaN stay such
//   QC8   of each group of 128 columns, the last one filled with zeros: a = max |x|, the scale is a / 127, and
//         code = floor(clamp(x * (127 / a) + (word >> 8) 2^-24, -127, 127)); all zeros where a < 2^-100
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/index.h"
#include "base/philox.h"
#include "tensor/dtype.h"

namespace jericho {

struct RoundingStream {
  PhiloxKey key{};           // of the tensor
  std::uint32_t update = 0;  // 0: its first values
  Index row = 0;
};

inline constexpr std::uint32_t kRoundingPurpose = 3;
inline constexpr float kSmallestGroup = 0x1p-100f;

constexpr bool is_rounded_at_random(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kQC8; }

namespace ref {

// x[cols] -> a row of whole blocks of `dtype`.
void round_row(DType dtype, const float* x, Index cols, const RoundingStream& stream, std::byte* row);

}  // namespace ref
}  // namespace jericho
