// The codes of a file's block in element order, by vectors: the twin of Format::codes() (tensor/block_formats.h) that
// packing and dequantizing share, and its inverse. A format without an overload here has its own plain loop, which
// compilers vectorise for nibbles and bytes. Start at unpack_codes() and join_codes(); AVX2 is enough for all of it.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "tensor/block_formats.h"

#if defined(JERICHO_BLOCK_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_BLOCK_CODES_INL_H_
#undef JERICHO_BLOCK_CODES_INL_H_
#else
#define JERICHO_BLOCK_CODES_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

HWY_INLINE __m256i load_32(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
HWY_INLINE void store_32(__m256i v, std::uint8_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

// Bits [kRight, kRight + kWidth) of each byte, moved to kTo.
template <int kRight, int kWidth, int kTo = 0>
HWY_INLINE __m256i bits_at(__m256i v) {
  constexpr int kShift = kRight - kTo;
  if constexpr (kShift > 0) v = _mm256_srli_epi16(v, kShift);
  if constexpr (kShift < 0) v = _mm256_slli_epi16(v, -kShift);
  return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(((1 << kWidth) - 1) << kTo)));
}

HWY_INLINE void vector_bit_pairs(const std::uint8_t* bytes, std::uint8_t* codes) {  // of 128 values
  const __m256i v = load_32(bytes);
  store_32(bits_at<0, 2>(v), codes);
  store_32(bits_at<2, 2>(v), codes + 32);
  store_32(bits_at<4, 2>(v), codes + 64);
  store_32(bits_at<6, 2>(v), codes + 96);
}

template <int kTo, int kBit = 0>
HWY_INLINE void add_vector_bits(__m256i bits, std::uint8_t* codes) {  // add_bit_of_super_block()
  store_32(_mm256_or_si256(load_32(codes), bits_at<kBit, 1, kTo>(bits)), codes);
  if constexpr (kBit < 7) add_vector_bits<kTo, kBit + 1>(bits, codes + 32);
}

HWY_INLINE void vector_nibbles_of_super_block(const std::uint8_t* bytes, std::uint8_t* codes) {
  for (int c = 0; c < 4; ++c) {
    const __m256i v = load_32(bytes + 32 * c);
    store_32(bits_at<0, 4>(v), codes + 64 * c);
    store_32(bits_at<4, 4>(v), codes + 64 * c + 32);
  }
}

// `one` in each byte whose bit of the 32 at `bits` is set.
HWY_INLINE __m256i spread_bits(const std::uint8_t* bits, int one) {
  std::int32_t word = 0;
  std::memcpy(&word, bits, 4);
  const __m256i byte_of =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), byte_of), bit_of);
  return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit_of), _mm256_set1_epi8(static_cast<char>(one)));
}
HWY_INLINE void vector_fifth_bits(const std::uint8_t* bits, const std::uint8_t* nibbles, std::uint8_t* codes) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles));
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);
  store_32(_mm256_or_si256(bits_at<0, 4>(both), spread_bits(bits, 16)), codes);
}

// Trits of 16 bytes whose power of three is `power`: TQ1_0::trit().
HWY_INLINE void vector_trits(const std::uint8_t* bytes, int power, std::uint8_t* codes) {
  const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  __m256i v = _mm256_mullo_epi16(wide, _mm256_set1_epi16(static_cast<short>(power)));
  v = _mm256_and_si256(v, _mm256_set1_epi16(255));
  v = _mm256_srli_epi16(_mm256_mullo_epi16(v, _mm256_set1_epi16(3)), 8);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(v, v), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm256_castsi256_si128(packed));
}

template <class Format>
HWY_INLINE void unpack_codes(const std::uint8_t* block, std::uint8_t* codes) {
  if constexpr (Format::kDType == DType::kQ1_0) {
    for (int i = 0; i < 4; ++i) store_32(spread_bits(block + 2 + 4 * i, 1), codes + 32 * i);
  } else if constexpr (Format::kDType == DType::kTQ1_0) {
    constexpr int kPowers[] = {1, 3, 9, 27, 81};
    for (int n = 0; n < 5; ++n) {
      vector_trits(block, kPowers[n], codes + 32 * n);
      vector_trits(block + 16, kPowers[n], codes + 32 * n + 16);
      vector_trits(block + 32, kPowers[n], codes + 160 + 16 * n);
    }
    for (int j = 0; j < 16; ++j) codes[240 + j] = TQ1_0::trit(block[48 + j % 4], j / 4);
  } else if constexpr (Format::kDType == DType::kTQ2_0) {
    for (int half = 0; half < 2; ++half) vector_bit_pairs(block + 32 * half, codes + 128 * half);
  } else if constexpr (Format::kDType == DType::kTQ2F) {
    vector_bit_pairs(block, codes);
  } else if constexpr (Format::kDType == DType::kQ2_K) {
    for (int half = 0; half < 2; ++half) vector_bit_pairs(block + 16 + 32 * half, codes + 128 * half);
  } else if constexpr (Format::kDType == DType::kQ3_K) {
    for (int half = 0; half < 2; ++half) vector_bit_pairs(block + 32 + 32 * half, codes + 128 * half);
    add_vector_bits<2>(load_32(block), codes);
  } else if constexpr (Format::kDType == DType::kQ4_K) {
    vector_nibbles_of_super_block(block + 16, codes);
  } else if constexpr (Format::kDType == DType::kQ5_K) {
    vector_nibbles_of_super_block(block + 48, codes);
    add_vector_bits<4>(load_32(block + 16), codes);
  } else if constexpr (Format::kDType == DType::kQ5_0) {
    vector_fifth_bits(block + 2, block + 6, codes);
  } else if constexpr (Format::kDType == DType::kQ5_1) {
    vector_fifth_bits(block + 4, block + 8, codes);
  } else if constexpr (Format::kDType == DType::kQ6_K) {
    for (int n = 0; n < 2; ++n) {
      const __m256i low = load_32(block + 64 * n), next = load_32(block + 64 * n + 32);
      const __m256i high = load_32(block + 128 + 32 * n);
      std::uint8_t* to = codes + 128 * n;
      store_32(_mm256_or_si256(bits_at<0, 4>(low), bits_at<0, 2, 4>(high)), to);
      store_32(_mm256_or_si256(bits_at<0, 4>(next), bits_at<2, 2, 4>(high)), to + 32);
      store_32(_mm256_or_si256(bits_at<4, 4>(low), bits_at<4, 2, 4>(high)), to + 64);
      store_32(_mm256_or_si256(bits_at<4, 4>(next), bits_at<6, 2, 4>(high)), to + 96);
    }
  } else {
    Format::codes(block, codes);
  }
}

// The inverse, for the formats that are rounded to by vectors: every code bit of a block is written, no scale.
template <int kAt, int kBit = 0>
HWY_INLINE __m256i gathered_bits(const std::uint8_t* codes) {  // of 256 codes, as add_bit_of_super_block() has them
  const __m256i bit = bits_at<kAt, 1, kBit>(load_32(codes + 32 * kBit));
  if constexpr (kBit == 7) {
    return bit;
  } else {
    return _mm256_or_si256(bit, gathered_bits<kAt, kBit + 1>(codes));
  }
}
template <int kFrom>  // bits [kFrom, kFrom + 2) of 128 codes
HWY_INLINE __m256i joined_pairs(const std::uint8_t* codes) {
  const __m256i low = _mm256_or_si256(bits_at<kFrom, 2, 0>(load_32(codes)), bits_at<kFrom, 2, 2>(load_32(codes + 32)));
  const __m256i high =
      _mm256_or_si256(bits_at<kFrom, 2, 4>(load_32(codes + 64)), bits_at<kFrom, 2, 6>(load_32(codes + 96)));
  return _mm256_or_si256(low, high);
}
HWY_INLINE __m256i joined_nibbles(const std::uint8_t* low, const std::uint8_t* high) {
  return _mm256_or_si256(bits_at<0, 4>(load_32(low)), bits_at<0, 4, 4>(load_32(high)));
}
HWY_INLINE void join_halves(const std::uint8_t* codes,
                            std::uint8_t* nibbles) {  // 32 codes, as split_nibbles() has them
  const __m256i v = bits_at<0, 4>(load_32(codes));
  const __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(v, 1), 4);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(nibbles), _mm_or_si128(_mm256_castsi256_si128(v), high));
}
HWY_INLINE void join_fifth_bits(const std::uint8_t* codes, std::uint8_t* bits) {
  const int word = _mm256_movemask_epi8(_mm256_slli_epi16(load_32(codes), 3));
  std::memcpy(bits, &word, 4);
}

template <class Format>
HWY_INLINE void join_codes(const std::uint8_t* codes, std::uint8_t* block) {
  if constexpr (Format::kDType == DType::kQ2_K) {
    for (int half = 0; half < 2; ++half) store_32(joined_pairs<0>(codes + 128 * half), block + 16 + 32 * half);
  } else if constexpr (Format::kDType == DType::kQ3_K) {
    for (int half = 0; half < 2; ++half) store_32(joined_pairs<0>(codes + 128 * half), block + 32 + 32 * half);
    store_32(gathered_bits<2>(codes), block);
  } else if constexpr (Format::kDType == DType::kQ4_0) {
    join_halves(codes, block + 2);
  } else if constexpr (Format::kDType == DType::kQ4_1) {
    join_halves(codes, block + 4);
  } else if constexpr (Format::kDType == DType::kQ5_0) {
    join_fifth_bits(codes, block + 2);
    join_halves(codes, block + 6);
  } else if constexpr (Format::kDType == DType::kQ5_1) {
    join_fifth_bits(codes, block + 4);
    join_halves(codes, block + 8);
  } else if constexpr (Format::kDType == DType::kQ4_K || Format::kDType == DType::kQ5_K) {
    std::uint8_t* nibbles = block + (Format::kDType == DType::kQ4_K ? 16 : 48);
    for (int c = 0; c < 4; ++c) {
      store_32(joined_nibbles(codes + 64 * c, codes + 64 * c + 32), nibbles + 32 * c);
    }
    if constexpr (Format::kDType == DType::kQ5_K) store_32(gathered_bits<4>(codes), block + 16);
  } else if constexpr (Format::kDType == DType::kQ6_K) {
    for (int n = 0; n < 2; ++n) {
      const std::uint8_t* from = codes + 128 * n;
      store_32(joined_nibbles(from, from + 64), block + 64 * n);
      store_32(joined_nibbles(from + 32, from + 96), block + 64 * n + 32);
      store_32(joined_pairs<4>(from), block + 128 + 32 * n);
    }
  } else {
    static_assert(Format::kDType == DType::kQ8_0);
    store_32(_mm256_xor_si256(load_32(codes), _mm256_set1_epi8(-128)), block + 2);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
