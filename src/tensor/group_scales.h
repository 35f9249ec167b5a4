// The scales of block formats: which bytes of a block carry them, and how they give scale, zero point, sub-scales and
// minimum of a group of 32 values. One struct per kind, the base of each format that has it (block_formats.h); the
// vector twins are in kernels/cpu/strip-inl.h. Start at GroupScale and HalfScale.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "base/index.h"

namespace jericho {

inline constexpr Index kGroup = 32;  // values that share one multiplication by a scale; every block is a multiple of it

enum class FieldType { kBits, kExponent, kHalf, kBrainHalf, kFloat };  // bits and exponents are a byte
struct ScaleField {
  int offset = 0;  // bytes from the start of the block
  FieldType type = FieldType::kHalf;
  [[nodiscard]] constexpr int width() const {
    switch (type) {
      case FieldType::kHalf:
      case FieldType::kBrainHalf: return 2;
      case FieldType::kFloat: return 4;
      default: return 1;
    }
  }
};

// Writes `value` into a field that holds a float (not kBits), rounded to its type; kExponent takes powers of two.
inline void put_scale(const ScaleField& field, float value, std::uint8_t* block) {
  if (field.type == FieldType::kFloat) std::memcpy(block + field.offset, &value, 4);
  if (const F16 half = to_f16(value); field.type == FieldType::kHalf) std::memcpy(block + field.offset, &half.bits, 2);
  if (const BF16 half = to_bf16(value); field.type == FieldType::kBrainHalf) {
    std::memcpy(block + field.offset, &half.bits, 2);
  }
  if (field.type == FieldType::kExponent) {
    block[field.offset] = static_cast<std::uint8_t>((std::bit_cast<std::uint32_t>(value) >> 23 & 255u) + 1);
  }
}

template <std::size_t kHalves, std::size_t kBytes>
constexpr std::array<ScaleField, kHalves + kBytes> halves_and_bytes(std::array<int, kHalves> halves,
                                                                    std::array<int, kBytes> bytes) {
  std::array<ScaleField, kHalves + kBytes> fields{};
  for (std::size_t i = 0; i < kHalves; ++i) fields[i] = {halves[i], FieldType::kHalf};
  for (std::size_t i = 0; i < kBytes; ++i) fields[kHalves + i] = {bytes[i], FieldType::kBits};
  return fields;
}

template <std::size_t kCount>
constexpr std::array<int, kCount> bytes_from(int offset) {
  std::array<int, kCount> bytes{};
  for (std::size_t i = 0; i < kCount; ++i) bytes[i] = offset + static_cast<int>(i);
  return bytes;
}

struct GroupScale {
  float scale = 0;                       // d, or d * sub-scale where that is exact
  int zero = 0;                          // taken off every integer (kHasZero)
  std::array<int, 2> sub{1, 1};          // integer sub-scales of values 0-15 and 16-31 (kHasSub)
  float minimum = 0;                     // added to every value (kHasMin), times
  std::array<int, 2> minimum_sub{1, 1};  // its integer sub-scales of values 0-15 and 16-31 (kHasMinSub)
};

inline float read_half(const std::uint8_t* bytes) {
  F16 half;
  std::memcpy(&half.bits, bytes, 2);
  return to_float(half);
}
inline float read_brain_half(const std::uint8_t* bytes) {
  BF16 half;
  std::memcpy(&half.bits, bytes, 2);
  return to_float(half);
}
inline float read_float(const std::uint8_t* bytes) {
  float value = 0;
  std::memcpy(&value, bytes, 4);
  return value;
}

// The kinds of scales. scale() takes the bytes of kScaleFields, one after the other, and the group's place in its
// block; the vector twin of each is in kernels/cpu/strip-inl.h.
enum class ScaleKind {
  kHalf,
  kExponent,
  kTwoHalves,
  kSixBitPairs,
  kSixBits,
  kSubBytes,
  kSubSixBits,
  kSubNibblePairs,
  kFloat,
  kHalfZero,
  kBrainHalfZero,
  kFloatZero,
};

// The columns of one integer dot, which meets its scales once: a group of 32, the block, or all of a segment
// (docs/numerics.md 3). The last is for rows of one scale, which every block of the row repeats.
enum class DotSpan { kGroupOf32, kBlock, kSegment };

struct BlockFormat {  // what most formats have not
  static constexpr DotSpan kSpan = DotSpan::kGroupOf32;
  static constexpr bool kHasMin = false;
  static constexpr bool kHasSub = false;
  static constexpr bool kHasMinSub = false;
  static constexpr bool kHasZero = false;
  static constexpr std::array<std::int8_t, 0> kTable{};
  static constexpr Index kGrowth = 0;
};

struct HalfScale : BlockFormat {  // d
  static constexpr ScaleKind kScales = ScaleKind::kHalf;
  static GroupScale scale(const std::uint8_t* fields, int) { return {.scale = read_half(fields)}; }
};

struct FloatScale : BlockFormat {  // d in fp32
  static constexpr ScaleKind kScales = ScaleKind::kFloat;
  static GroupScale scale(const std::uint8_t* fields, int) { return {.scale = read_float(fields)}; }
};

// d, then a signed byte: value = d * (integer - zero).
struct HalfZeroScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kHalfZero;
  static constexpr bool kHasZero = true;
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_half(fields), .zero = static_cast<std::int8_t>(fields[2])};
  }
};
struct BrainHalfZeroScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kBrainHalfZero;
  static constexpr bool kHasZero = true;
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_brain_half(fields), .zero = static_cast<std::int8_t>(fields[2])};
  }
};
struct FloatZeroScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kFloatZero;
  static constexpr bool kHasZero = true;
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_float(fields), .zero = static_cast<std::int8_t>(fields[4])};
  }
};

// 2^(e - 128). For e 0 and 1 that would be subnormal, and is +0 whatever the flush modes are (docs/numerics.md 1).
struct ExponentScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kExponent;
  static GroupScale scale(const std::uint8_t* fields, int) {
    const std::uint32_t exponent = fields[0] == 0 ? 0 : fields[0] - 1u;
    return {.scale = std::bit_cast<float>(exponent << 23)};
  }
};

struct TwoHalvesScale : BlockFormat {  // d, minimum
  static constexpr ScaleKind kScales = ScaleKind::kTwoHalves;
  static constexpr bool kHasMin = true;
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_half(fields), .minimum = read_half(fields + 2)};
  }
};

// d, dmin, then twelve bytes b with eight pairs of 6 bits: scale d * sc and minimum -(dmin * m), both exact: 11 bits
// times 6.
struct SixBitPairsScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kSixBitPairs;
  static constexpr bool kHasMin = true;
  static GroupScale scale(const std::uint8_t* fields, int j) {
    const std::uint8_t* b = fields + 4;
    const int sc = j < 4 ? b[j] & 63 : (b[j + 4] & 15) | (b[j - 4] >> 6) << 4;
    const int m = j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) | (b[j] >> 6) << 4;
    return {.scale = read_half(fields) * static_cast<float>(sc),
            .minimum = -(read_half(fields + 2) * static_cast<float>(m))};
  }
};

// d, two bytes with eight high bit pairs, four bytes with eight low nibbles: scale d * (6 bits - 32), exact.
struct SixBitsScale : BlockFormat {
  static constexpr ScaleKind kScales = ScaleKind::kSixBits;
  static GroupScale scale(const std::uint8_t* fields, int group) {
    const int low = (fields[4 + group / 2] >> (4 * (group % 2))) & 15;
    const int high = (fields[2 + group / 4] >> (2 * (group % 4))) & 3;
    return {.scale = read_half(fields) * static_cast<float>((low | high << 4) - 32)};
  }
};

struct SubBytesScale : BlockFormat {  // d, then a signed byte per 16 values
  static constexpr ScaleKind kScales = ScaleKind::kSubBytes;
  static constexpr bool kHasSub = true;
  static GroupScale scale(const std::uint8_t* fields, int group) {
    return {.scale = read_half(fields),
            .sub = {static_cast<std::int8_t>(fields[2 + 2 * group]), static_cast<std::int8_t>(fields[3 + 2 * group])}};
  }
};

struct SubSixBitsScale : BlockFormat {  // d, then twelve bytes with 6 bits - 32 per 16 values
  static constexpr ScaleKind kScales = ScaleKind::kSubSixBits;
  static constexpr bool kHasSub = true;
  static GroupScale scale(const std::uint8_t* fields, int group) {
    return {.scale = read_half(fields), .sub = {sub(fields + 2, 2 * group), sub(fields + 2, 2 * group + 1)}};
  }
  static int sub(const std::uint8_t* b, int i) {
    const int low = (b[i % 8] >> (4 * (i / 8))) & 15;
    const int high = (b[8 + i % 4] >> (2 * (i / 4))) & 3;
    return (low | high << 4) - 32;
  }
};

struct SubNibblePairsScale
    : BlockFormat {  // d, dmin, then a byte per 16 values: sub-scale low, that of the minimum high
  static constexpr ScaleKind kScales = ScaleKind::kSubNibblePairs;
  static constexpr bool kHasMin = true;
  static constexpr bool kHasSub = true;
  static constexpr bool kHasMinSub = true;
  static GroupScale scale(const std::uint8_t* fields, int group) {
    const std::uint8_t* b = fields + 4 + 2 * group;
    return {.scale = read_half(fields),
            .sub = {b[0] & 15, b[1] & 15},
            .minimum = -read_half(fields + 2),
            .minimum_sub = {b[0] >> 4, b[1] >> 4}};
  }
};

}  // namespace jericho
