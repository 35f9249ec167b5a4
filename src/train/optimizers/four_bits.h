// Rows of values as four-bit codes with a scale and a zero point for each 256 of a row, the last group perhaps shorter:
// how Q-GaLore keeps its projections (Zhang et al. 2024, arXiv:2407.08296, section 3.3). Of a group, with its range
// widened to hold 0 (else a group on one side of it would be cut off):
//   scale = max(largest - least, 1e-5) / 15;  zero = -rint(least / scale);  code = clamp(rint(x / scale) + zero, 0, 15)
// and a code stands for scale (code - zero).
#pragma once

#include <cstdint>
#include <span>

#include "base/index.h"

namespace jericho {

inline constexpr Index kFourBitGroup = 256;

struct FourBitRow {                 // views of somebody's state
  std::span<std::uint8_t> codes{};  // two to a byte, the first in the low half
  std::span<float> scales{};        // of each group
  std::span<std::uint8_t> zeros{};
};

constexpr Index four_bit_bytes(Index cols) { return ceil_div(cols, 2); }
constexpr Index four_bit_groups(Index cols) { return ceil_div(cols, kFourBitGroup); }

void to_four_bits(std::span<const float> x, const FourBitRow& row);
void from_four_bits(const FourBitRow& row, std::span<float> x);

}  // namespace jericho
