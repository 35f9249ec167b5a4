// What the bits of each block format mean (ggml's block layouts; docs/formats.md has the table). One struct per format and
// the list at the end: with its row in dtype.h that is all a new format needs. Packing, dequantizing and every matmul
// kernel are written against what a struct says:
//   kCodeBits, kOffset  value = scale * (code - kOffset) [+ minimum], code unsigned, kCodeBits wide
//   codes()             all codes of a block, in element order
//   kScaleFields        which bytes of the block carry scales, (offset, width), in the order in which scale() takes them
//   scale()             from those bytes the scale, sub-scales and minimum of a group of 32 values
// Start at Q4_0; Q6_K is the most involved.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "tensor/dtype.h"

namespace jericho {

inline constexpr Index kGroup = 32;  // values that share one multiplication by a scale; every block is a multiple of it

struct ScaleField {
  int offset = 0;  // bytes from the start of the block
  int width = 1;   // 1 or 2 bytes
};

struct GroupScale {
  float scale = 0;               // d, or d * sub-scale where that is exact
  std::array<int, 2> sub{1, 1};  // integer sub-scales of values 0-15 and 16-31 (kHasSub)
  float minimum = 0;             // added to every value (kHasMin)
};

inline float read_half(const std::uint8_t* bytes) {
  F16 half;
  std::memcpy(&half.bits, bytes, 2);
  return to_float(half);
}

// Low nibbles hold the first 16 values of 32, high nibbles the last 16 (Q4_0 and its relatives).
inline void split_nibbles(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = bytes[j] & 15u;
    codes[j + 16] = bytes[j] >> 4;
  }
}

inline void add_fifth_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  for (int j = 0; j < 32; ++j) codes[j] |= static_cast<std::uint8_t>(((bits[j / 8] >> (j % 8)) & 1u) << 4);
}

struct Q4_0 {  // d; 32 nibbles
  static constexpr DType kDType = DType::kQ4_0;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr bool kHasMin = false;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 1> kScaleFields{{{0, 2}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 2, out); }
  static GroupScale scale(const std::uint8_t* fields, int) { return {.scale = read_half(fields)}; }
};

struct Q4_1 {  // d, m; 32 nibbles
  static constexpr DType kDType = DType::kQ4_1;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, 2}, {2, 2}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 4, out); }
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_half(fields), .minimum = read_half(fields + 2)};
  }
};

struct Q5_0 {  // d; 32 fifth bits; 32 nibbles
  static constexpr DType kDType = DType::kQ5_0;
  static constexpr int kCodeBits = 5;
  static constexpr int kOffset = 16;
  static constexpr bool kHasMin = false;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 1> kScaleFields{{{0, 2}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles(block + 6, out);
    add_fifth_bits(block + 2, out);
  }
  static GroupScale scale(const std::uint8_t* fields, int) { return {.scale = read_half(fields)}; }
};

struct Q5_1 {  // d, m; 32 fifth bits; 32 nibbles
  static constexpr DType kDType = DType::kQ5_1;
  static constexpr int kCodeBits = 5;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, 2}, {2, 2}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles(block + 8, out);
    add_fifth_bits(block + 4, out);
  }
  static GroupScale scale(const std::uint8_t* fields, int) {
    return {.scale = read_half(fields), .minimum = read_half(fields + 2)};
  }
};

struct Q8_0 {  // d; 32 signed bytes, here as unsigned codes
  static constexpr DType kDType = DType::kQ8_0;
  static constexpr int kCodeBits = 8;
  static constexpr int kOffset = 128;
  static constexpr bool kHasMin = false;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 1> kScaleFields{{{0, 2}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 32; ++j) out[j] = block[2 + j] ^ 0x80u;  // + 128 modulo 256
  }
  static GroupScale scale(const std::uint8_t* fields, int) { return {.scale = read_half(fields)}; }
};

struct Q4_K {  // d, dmin; eight pairs of 6-bit scale and minimum in 12 bytes; 256 nibbles
  static constexpr DType kDType = DType::kQ4_K;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  static constexpr bool kHasSub = false;
  static constexpr std::array<ScaleField, 14> kScaleFields{{{0, 2},
                                                            {2, 2},
                                                            {4, 1},
                                                            {5, 1},
                                                            {6, 1},
                                                            {7, 1},
                                                            {8, 1},
                                                            {9, 1},
                                                            {10, 1},
                                                            {11, 1},
                                                            {12, 1},
                                                            {13, 1},
                                                            {14, 1},
                                                            {15, 1}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int c = 0; c < 4; ++c) {
      for (int l = 0; l < 32; ++l) {
        out[64 * c + l] = block[16 + 32 * c + l] & 15u;
        out[64 * c + 32 + l] = block[16 + 32 * c + l] >> 4;
      }
    }
  }
  static GroupScale scale(const std::uint8_t* fields, int group) {
    const std::uint8_t* b = fields + 4;
    const int j = group;
    const int sc = j < 4 ? b[j] & 63 : (b[j + 4] & 15) | (b[j - 4] >> 6) << 4;
    const int m = j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) | (b[j] >> 6) << 4;
    // Both products are exact: 11 bits times 6.
    return {.scale = read_half(fields) * static_cast<float>(sc),
            .minimum = -(read_half(fields + 2) * static_cast<float>(m))};
  }
};

struct Q6_K {  // 256 low nibbles; 256 high bit pairs; sixteen int8 sub-scales; d
  static constexpr DType kDType = DType::kQ6_K;
  static constexpr int kCodeBits = 6;
  static constexpr int kOffset = 32;
  static constexpr bool kHasMin = false;
  static constexpr bool kHasSub = true;
  static constexpr std::array<ScaleField, 17> kScaleFields{{{208, 2},
                                                            {192, 1},
                                                            {193, 1},
                                                            {194, 1},
                                                            {195, 1},
                                                            {196, 1},
                                                            {197, 1},
                                                            {198, 1},
                                                            {199, 1},
                                                            {200, 1},
                                                            {201, 1},
                                                            {202, 1},
                                                            {203, 1},
                                                            {204, 1},
                                                            {205, 1},
                                                            {206, 1},
                                                            {207, 1}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int n = 0; n < 2; ++n) {
      const std::uint8_t* low = block + 64 * n;
      const std::uint8_t* high = block + 128 + 32 * n;
      for (int l = 0; l < 32; ++l) {
        out[128 * n + l] = static_cast<std::uint8_t>((low[l] & 15u) | (high[l] & 3u) << 4);
        out[128 * n + 32 + l] = static_cast<std::uint8_t>((low[l + 32] & 15u) | ((high[l] >> 2) & 3u) << 4);
        out[128 * n + 64 + l] = static_cast<std::uint8_t>((low[l] >> 4) | ((high[l] >> 4) & 3u) << 4);
        out[128 * n + 96 + l] = static_cast<std::uint8_t>((low[l + 32] >> 4) | (high[l] >> 6) << 4);
      }
    }
  }
  static GroupScale scale(const std::uint8_t* fields, int group) {
    return {.scale = read_half(fields),
            .sub = {static_cast<std::int8_t>(fields[2 + 2 * group]), static_cast<std::int8_t>(fields[3 + 2 * group])}};
  }
};

// Calls f.template operator()<Format>() for the block format `dtype`; `otherwise` is returned for plain types.
template <class F, class Otherwise>
decltype(auto) visit_block_format(DType dtype, F&& f, Otherwise&& otherwise) {
  switch (dtype) {
    case DType::kQ4_0: return f.template operator()<Q4_0>();
    case DType::kQ4_1: return f.template operator()<Q4_1>();
    case DType::kQ5_0: return f.template operator()<Q5_0>();
    case DType::kQ5_1: return f.template operator()<Q5_1>();
    case DType::kQ8_0: return f.template operator()<Q8_0>();
    case DType::kQ4_K: return f.template operator()<Q4_K>();
    case DType::kQ6_K: return f.template operator()<Q6_K>();
    default: return otherwise();
  }
}

}  // namespace jericho
