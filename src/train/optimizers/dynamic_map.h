// Eight-bit floats for optimizer state: 256 values whose spacing follows their size over seven decades, and blocks of
// 256 elements with a scale each (Dettmers et al. 2022, "8-bit optimizers via block-wise quantization",
// arXiv:2110.02861, sections 2.1 and 2.2).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/index.h"

namespace jericho {

inline constexpr Index kStateBlock = 256;

// Sorted. The signed map has no -1: the extreme of a block that is negative comes back as 0.99296875 of itself.
enum class DynamicMap { kSigned, kUnsigned };
const std::array<float, 256>& dynamic_values(DynamicMap map);

// One block of at most kStateBlock elements; returns its scale, the largest magnitude. A value takes the code below the
// midpoint that it does not exceed. `keep_small`: what is not zero does not become zero, since a second moment that
// does makes the next step thirty times too long.
float quantize_block(DynamicMap map, std::span<const float> values, bool keep_small, std::uint8_t* codes);
void dequantize_block(DynamicMap map, const std::uint8_t* codes, float scale, std::span<float> values);

}  // namespace jericho
