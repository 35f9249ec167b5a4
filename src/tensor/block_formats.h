// What the bits of each block format mean (ggml's block layouts, and a few of ours; docs/formats.md has the table). One
// struct per format: with its row in dtype.h that is all a new format needs. Packing, dequantizing and every matmul
// kernel are written against what a struct says:
//   kCodeBits, kOffset  value = scale * (code - kOffset [- zero]) [+ minimum], code unsigned, kCodeBits wide
//   kTable              for formats whose codes stand for the integers of a table: value = scale * kTable[code];
//                       kTable[code] + kOffset is the unsigned byte that kernels multiply
//   codes()             all codes of a block, in element order
//   kScaleFields        which bytes of the block carry scales, in the order that its kind of scales expects
//   kSpan               the columns of one integer dot, where that is not a group of 32
//   the base            how these fields give the scales of a group of 32 values (group_scales.h)
//   kGrowth             bytes by which a packed block is longer than the file's, where that is not 0
// Start at Q4_0; Q2_K is the most involved.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/group_scales.h"

namespace jericho {

// --- Codes ---------------------------------------------------------------------------------------------------------

// Low nibbles hold the first 16 values of 32, high nibbles the last 16 (Q4_0 and its relatives).
inline void split_nibbles(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = bytes[j] & 15u;
    codes[j + 16] = bytes[j] >> 4;
  }
}

inline void split_nibbles_of_128(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int g = 0; g < 4; ++g) split_nibbles(bytes + 16 * g, codes + 32 * g);
}

// 32 low nibbles, then the high nibbles of the same bytes, four times (Q4_K and Q5_K).
inline void split_nibbles_of_super_block(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int c = 0; c < 4; ++c) {
    for (int l = 0; l < 32; ++l) {
      codes[64 * c + l] = bytes[32 * c + l] & 15u;
      codes[64 * c + 32 + l] = bytes[32 * c + l] >> 4;
    }
  }
}

// 32 bytes hold the bit pairs of 128 values, those of the first 32 lowest; twice (Q2_K, Q3_K, TQ2_0).
inline void split_bit_pairs(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int j = 0; j < 256; ++j) codes[j] = (bytes[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2)) & 3u;
}

inline void add_fifth_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  for (int j = 0; j < 32; ++j) codes[j] |= static_cast<std::uint8_t>(((bits[j / 8] >> (j % 8)) & 1u) << 4);
}

// 32 bytes hold one bit of each of 256 values, those of the first 32 lowest.
inline void add_bit_of_super_block(const std::uint8_t* bits, int at, std::uint8_t* codes) {
  for (int j = 0; j < 256; ++j) codes[j] |= static_cast<std::uint8_t>(((bits[j % 32] >> (j / 32)) & 1u) << at);
}

// --- Formats, in the order of their bits ---------------------------------------------------------------------------

struct Q1_0 : HalfScale {  // d; 128 bits: -d or d
  static constexpr DType kDType = DType::kQ1_0;
  static constexpr int kCodeBits = 1;
  static constexpr int kOffset = 1;
  static constexpr std::array<std::int8_t, 2> kTable{-1, 1};
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({0}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 128; ++j) out[j] = (block[2 + j / 8] >> (j % 8)) & 1u;
  }
};

struct TQ2_0 : HalfScale {  // 256 bit pairs; d
  static constexpr DType kDType = DType::kTQ2_0;
  static constexpr int kCodeBits = 2;
  static constexpr int kOffset = 1;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({64}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_bit_pairs(block, out); }
};

// 48 bytes of five trits, 4 bytes of four; d. A byte is a fraction of 256 in base 3, first trit first, rounded up.
// Packed as TQ2_0: bit pairs need one shift where a trit needs two products, and memory seldom holds these models up.
struct TQ1_0 : HalfScale {
  static constexpr DType kDType = DType::kTQ1_0;
  static constexpr int kCodeBits = 2;
  static constexpr int kOffset = 1;
  static constexpr Index kGrowth = 12;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({52}, {});
  static std::uint8_t trit(std::uint8_t byte, int n) {
    constexpr std::array<unsigned, 5> kPowers{1, 3, 9, 27, 81};
    return static_cast<std::uint8_t>((byte * kPowers[static_cast<std::size_t>(n)] & 255u) * 3 >> 8);
  }
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 160; ++j) out[j] = trit(block[j % 32], j / 32);
    for (int j = 0; j < 80; ++j) out[160 + j] = trit(block[32 + j % 16], j / 16);
    for (int j = 0; j < 16; ++j) out[240 + j] = trit(block[48 + j % 4], j / 4);
  }
};

struct Q2_K : SubNibblePairsScale {  // sixteen nibble pairs; 256 bit pairs; d, dmin
  static constexpr DType kDType = DType::kQ2_K;
  static constexpr int kCodeBits = 2;
  static constexpr int kOffset = 0;
  static constexpr auto kScaleFields = halves_and_bytes<2, 16>({80, 82}, bytes_from<16>(0));
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_bit_pairs(block + 16, out); }
};

struct Q3_K : SubSixBitsScale {  // 256 third bits; 256 bit pairs; sixteen 6-bit sub-scales in 12 bytes; d
  static constexpr DType kDType = DType::kQ3_K;
  static constexpr int kCodeBits = 3;
  static constexpr int kOffset = 4;
  static constexpr auto kScaleFields = halves_and_bytes<1, 12>({108}, bytes_from<12>(96));
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_bit_pairs(block + 32, out);
    add_bit_of_super_block(block, 2, out);
  }
};

struct Q4_0 : HalfScale {  // d; 32 nibbles
  static constexpr DType kDType = DType::kQ4_0;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({0}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 2, out); }
};

struct Q4_1 : TwoHalvesScale {  // d, m; 32 nibbles
  static constexpr DType kDType = DType::kQ4_1;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 0;
  static constexpr auto kScaleFields = halves_and_bytes<2, 0>({0, 2}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 4, out); }
};

struct Q4_K : SixBitPairsScale {  // d, dmin; eight pairs of 6-bit scale and minimum in 12 bytes; 256 nibbles
  static constexpr DType kDType = DType::kQ4_K;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 0;
  static constexpr auto kScaleFields = halves_and_bytes<2, 12>({0, 2}, bytes_from<12>(4));
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles_of_super_block(block + 16, out); }
};

inline constexpr std::array<std::int8_t, 16> kIQ4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

struct IQ4_NL : HalfScale {  // d; 32 nibbles: places in a table
  static constexpr DType kDType = DType::kIQ4_NL;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 127;
  static constexpr auto kTable = kIQ4Values;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({0}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 2, out); }
};

struct IQ4_XS : SixBitsScale {  // d; eight 6-bit scales in 6 bytes; 256 nibbles: places in a table
  static constexpr DType kDType = DType::kIQ4_XS;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 127;
  static constexpr auto kTable = kIQ4Values;
  static constexpr auto kScaleFields = halves_and_bytes<1, 6>({0}, bytes_from<6>(2));
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles_of_128(block + 8, out);
    split_nibbles_of_128(block + 72, out + 128);
  }
};

struct MXFP4 : ExponentScale {  // e; 32 nibbles: E2M1 floats, here twice their value (OCP Microscaling Formats 1.0)
  static constexpr DType kDType = DType::kMXFP4;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 12;
  static constexpr std::array<std::int8_t, 16> kTable{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  static constexpr std::array<ScaleField, 1> kScaleFields{{{0, FieldType::kExponent}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 1, out); }
};

struct Q5_0 : HalfScale {  // d; 32 fifth bits; 32 nibbles
  static constexpr DType kDType = DType::kQ5_0;
  static constexpr int kCodeBits = 5;
  static constexpr int kOffset = 16;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({0}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles(block + 6, out);
    add_fifth_bits(block + 2, out);
  }
};

struct Q5_1 : TwoHalvesScale {  // d, m; 32 fifth bits; 32 nibbles
  static constexpr DType kDType = DType::kQ5_1;
  static constexpr int kCodeBits = 5;
  static constexpr int kOffset = 0;
  static constexpr auto kScaleFields = halves_and_bytes<2, 0>({0, 2}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles(block + 8, out);
    add_fifth_bits(block + 4, out);
  }
};

struct Q5_K : SixBitPairsScale {  // d, dmin; eight pairs as Q4_K; 256 fifth bits; 256 nibbles
  static constexpr DType kDType = DType::kQ5_K;
  static constexpr int kCodeBits = 5;
  static constexpr int kOffset = 0;
  static constexpr auto kScaleFields = halves_and_bytes<2, 12>({0, 2}, bytes_from<12>(4));
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    split_nibbles_of_super_block(block + 48, out);
    add_bit_of_super_block(block + 16, 4, out);
  }
};

struct Q6_K : SubBytesScale {  // 256 low nibbles; 256 high bit pairs; sixteen int8 sub-scales; d
  static constexpr DType kDType = DType::kQ6_K;
  static constexpr int kCodeBits = 6;
  static constexpr int kOffset = 32;
  static constexpr auto kScaleFields = halves_and_bytes<1, 16>({208}, bytes_from<16>(192));
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
};

struct Q8_0 : HalfScale {  // d; 32 signed bytes, here as unsigned codes
  static constexpr DType kDType = DType::kQ8_0;
  static constexpr int kCodeBits = 8;
  static constexpr int kOffset = 128;
  static constexpr auto kScaleFields = halves_and_bytes<1, 0>({0}, {});
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 32; ++j) out[j] = block[2 + j] ^ 0x80u;  // + 128 modulo 256
  }
};

// --- Ours: what the integer grids of Hugging Face checkpoints are kept in where no format above is exact -----------

struct TQ2F : FloatScale {  // 128 bit pairs, those of the first 32 lowest; d in fp32: ternary with one scale per tensor
  static constexpr DType kDType = DType::kTQ2F;
  static constexpr int kCodeBits = 2;
  static constexpr int kOffset = 1;
  static constexpr std::array<ScaleField, 1> kScaleFields{{{32, FieldType::kFloat}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 128; ++j) out[j] = (block[j % 32] >> (j / 32 * 2)) & 3u;
  }
};

struct QZ4 : HalfZeroScale {  // d; zero; 32 nibbles
  static constexpr DType kDType = DType::kQZ4;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, FieldType::kHalf}, {2, FieldType::kBits}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 3, out); }
};

struct QZ4B : BrainHalfZeroScale {  // d in bf16; zero; 32 nibbles
  static constexpr DType kDType = DType::kQZ4B;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, FieldType::kBrainHalf}, {2, FieldType::kBits}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles(block + 3, out); }
};

struct QZ8 : FloatZeroScale {  // d in fp32; zero; 32 signed bytes, here as unsigned codes
  static constexpr DType kDType = DType::kQZ8;
  static constexpr int kCodeBits = 8;
  static constexpr int kOffset = 128;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, FieldType::kFloat}, {4, FieldType::kBits}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 32; ++j) out[j] = block[5 + j] ^ 0x80u;
  }
};

struct QZ4_128 : HalfZeroScale {  // d; zero; four times 32 nibbles
  static constexpr DType kDType = DType::kQZ4_128;
  static constexpr DotSpan kSpan = DotSpan::kBlock;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, FieldType::kHalf}, {2, FieldType::kBits}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles_of_128(block + 3, out); }
};

struct QZ4B_128 : BrainHalfZeroScale {  // d in bf16; zero; four times 32 nibbles
  static constexpr DType kDType = DType::kQZ4B_128;
  static constexpr DotSpan kSpan = DotSpan::kBlock;
  static constexpr int kCodeBits = 4;
  static constexpr int kOffset = 8;
  static constexpr std::array<ScaleField, 2> kScaleFields{{{0, FieldType::kBrainHalf}, {2, FieldType::kBits}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) { split_nibbles_of_128(block + 3, out); }
};

struct QC8 : FloatScale {  // d in fp32, the same in all blocks of a row; 128 signed bytes, here as unsigned codes
  static constexpr DType kDType = DType::kQC8;
  static constexpr DotSpan kSpan = DotSpan::kSegment;
  static constexpr int kCodeBits = 8;
  static constexpr int kOffset = 128;
  static constexpr std::array<ScaleField, 1> kScaleFields{{{0, FieldType::kFloat}}};
  static void codes(const std::uint8_t* block, std::uint8_t* out) {
    for (int j = 0; j < 128; ++j) out[j] = block[4 + j] ^ 0x80u;
  }
};

// --- What all of them are used through -----------------------------------------------------------------------------

template <class Format>
inline constexpr bool kHasTable = !Format::kTable.empty();

// The unsigned byte that kernels multiply for a code, and the integer that the code stands for.
template <class Format>
constexpr std::uint8_t multiplicand(std::uint8_t code) {
  if constexpr (kHasTable<Format>) {
    return static_cast<std::uint8_t>(Format::kTable[code] + Format::kOffset);
  } else {
    return code;
  }
}
template <class Format>
constexpr int integer_of(std::uint8_t code) {
  return multiplicand<Format>(code) - Format::kOffset;
}
// Of a format whose integer dots run over more than a group.
template <class Format>
inline constexpr bool kHasLongDots = Format::kSpan != DotSpan::kGroupOf32;
template <class Format>
inline constexpr int kLargestMultiplicand = [] {
  int largest = 0;
  for (unsigned code = 0; code < 1u << Format::kCodeBits; ++code) {
    largest = std::max<int>(largest, multiplicand<Format>(static_cast<std::uint8_t>(code)));
  }
  return largest;
}();

// Calls f.template operator()<Format>() for the block format `dtype`; `otherwise` is returned for all other types.
template <class F, class Otherwise>
decltype(auto) visit_block_format(DType dtype, F&& f, Otherwise&& otherwise) {
  switch (dtype) {
#define JERICHO_CASE(name, gguf, safetensors, elements, bytes) \
  case DType::k##name: return f.template operator()<name>();
    JERICHO_BLOCK_DTYPES(JERICHO_CASE)
#undef JERICHO_CASE
    default: return otherwise();
  }
}

}  // namespace jericho
