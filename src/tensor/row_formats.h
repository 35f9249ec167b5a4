// Block formats whose values are fp32 numbers, not integers: they multiply like F32 and F16 weights (docs/numerics.md
// 3) and their rows stay as they are, one after the other. A block of 64 values is an fp32 scale and the codes; a value
// is what a code stands for times the scale, rounded once.
//   NF4  the 16 quantiles of a normal distribution (QLoRA, Dettmers et al. 2023, arXiv:2305.14314, appendix E)
//   FP8  E4M3 without infinities (Micikevicius et al. 2022, arXiv:2209.05433, table 1)
// Start at NF4; visit_row_format() is what kernels use.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "tensor/block_formats.h"
#include "tensor/dtype.h"

namespace jericho {

inline constexpr Index kRowBlock = 64;  // values that share a scale

// fp32 constants as bitsandbytes has them (functional.py, create_normal_map).
inline constexpr std::array<float, 16> kNF4Values{-1.0f,
                                                  -0.6961928009986877f,
                                                  -0.5250730514526367f,
                                                  -0.39491748809814453f,
                                                  -0.28444138169288635f,
                                                  -0.18477343022823334f,
                                                  -0.09105003625154495f,
                                                  0.0f,
                                                  0.07958029955625534f,
                                                  0.16093020141124725f,
                                                  0.24611230194568634f,
                                                  0.33791524171829224f,
                                                  0.44070982933044434f,
                                                  0.5626170039176941f,
                                                  0.7229568362236023f,
                                                  1.0f};

// Scale; eight words of eight nibbles: nibble n of word w, from the low end, is value 8 n + w, so that one shift of all
// words brings forth eight values in their order.
struct NF4 {
  static constexpr DType kDType = DType::kNF4;
  static constexpr Index kBlockBytes = 4 + kRowBlock / 2;
  static constexpr Index byte_of(Index j) { return 4 + j % 8 * 4 + j / 16; }
  static constexpr int shift_of(Index j) { return static_cast<int>(j / 8 % 2 * 4); }
  static float value(const std::uint8_t* block, Index j) {
    return kNF4Values[(block[byte_of(j)] >> shift_of(j)) & 15u] * read_float(block);
  }
};

// Sign, four bits of exponent (bias 7), three of mantissa; exponent 0 is subnormal, all ones but the sign is NaN.
constexpr float float_of_e4m3(std::uint8_t code) {
  const unsigned exponent = (code >> 3) & 15u;
  const unsigned mantissa = code & 7u;
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x80u) << 24;
  if ((code & 0x7fu) == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  const float magnitude = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                        : std::bit_cast<float>((exponent + 120u) << 23 | mantissa << 20);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

// Scale; 64 codes. The scale takes 2^8 that the code gives: the product is the same, but where the scale is above
// 2^119.
struct FP8 {
  static constexpr DType kDType = DType::kFP8;
  static constexpr Index kBlockBytes = 4 + kRowBlock;
  static float value(const std::uint8_t* block, Index j) {
    return float_of_e4m3(block[4 + j]) * 0x1p-8f * (read_float(block) * 0x1p8f);
  }
};

// Calls f.template operator()<Format>() for the row format `dtype`; `otherwise` is returned for all other types.
template <class F, class Otherwise>
decltype(auto) visit_row_format(DType dtype, F&& f, Otherwise&& otherwise) {
  switch (dtype) {
#define JERICHO_CASE(name, gguf, safetensors, elements, bytes)                                           \
  case DType::k##name:                                                                                   \
    static_assert(elements == kRowBlock && bytes == name::kBlockBytes, "dtype.h and the struct differ"); \
    return f.template operator()<name>();
    JERICHO_ROW_DTYPES(JERICHO_CASE)
#undef JERICHO_CASE
    default: return otherwise();
  }
}

}  // namespace jericho
