// Rows of weights that multiply in fp32, a few vectors of columns at a time: plain ones, and the vector twins of
// row_formats.h.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/half.h"
#include "base/index.h"
#include "tensor/row_formats.h"

#if defined(JERICHO_FLOAT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_FLOAT_ROWS_INL_H_
#undef JERICHO_FLOAT_ROWS_INL_H_
#else
#define JERICHO_FLOAT_ROWS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

// kColumns columns, sixteen to a vector.
template <int kCount>
struct Decoded {
  static constexpr int kVectors = kCount;
  static constexpr Index kColumns = 16 * kCount;
  F32x16 at[kCount];
};

// Each has decode(row, k): the Decoded columns from k on of the row that begins at `row`; k is a multiple of kColumns.
template <class Element>  // float or F16
struct PlainRows {
  using Values =
      Decoded<2>;  // of halves a cache line: rows side by side may push one another out before they come again
  HWY_INLINE Values decode(const std::byte* row, Index k) const {
    if constexpr (std::is_same_v<Element, F16>) {
      const F16* from = reinterpret_cast<const F16*>(row) + k;
      return {{load_f16(from), load_f16(from + 16)}};
    } else {
      const float* from = reinterpret_cast<const float*>(row) + k;
      return {{load(from), load(from + 16)}};
    }
  }
};

template <class Format>
HWY_INLINE const std::uint8_t* block_of(const std::byte* row, Index k) {
  return reinterpret_cast<const std::uint8_t*>(row) + k / kRowBlock * Format::kBlockBytes;
}

template <class Format>
class CodedRows;

// Values times scale are rounded in the table, so that sixteen products serve all codes of a block.
template <>
class CodedRows<NF4> {
 public:
  using Values = Decoded<4>;
#if HWY_TARGET == HWY_AVX3
  HWY_INLINE CodedRows() : table_(_mm512_loadu_ps(kNF4Values.data())) {}
  HWY_INLINE Values decode(const std::byte* row, Index k) const {
    const std::uint8_t* block = block_of<NF4>(row, k);
    const __m512 table = _mm512_mul_ps(table_, _mm512_set1_ps(read_float(block)));
    // The eight words twice; the second time a nibble further. Only the low four bits of an index count.
    const __m512i words = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 4)));
    const __m512i first = _mm512_srlv_epi32(words, _mm512_set_epi32(4, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0));
    return {
        { F32x16{_mm512_permutexvar_ps(first, table)},
          F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(first, 8), table)},
          F32x16{_mm512_permutexvar_ps(_mm512_srli_epi32(first, 16), table)},
          F32x16 {
            _mm512_permutexvar_ps(_mm512_srli_epi32(first, 24), table)
          } }};
  }

 private:
  __m512 table_;
#else
  HWY_INLINE CodedRows() : low_(_mm256_loadu_ps(kNF4Values.data())), high_(_mm256_loadu_ps(kNF4Values.data() + 8)) {}
  HWY_INLINE Values decode(const std::byte* row, Index k) const {
    const std::uint8_t* block = block_of<NF4>(row, k);
    const __m256 scale = _mm256_set1_ps(read_float(block));
    const Table table = {_mm256_mul_ps(low_, scale), _mm256_mul_ps(high_, scale)};
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 4));
    return {{values_of<0>(table, words), values_of<8>(table, words), values_of<16>(table, words),
             values_of<24>(table, words)}};
  }

 private:
  struct Table {
    __m256 low, high;
  };
  template <int kRight>
  static HWY_INLINE hn::Vec<FloatTag> eight_values_of(const Table& table, __m256i words) {
    const __m256i codes = _mm256_srli_epi32(words, kRight);  // of which the low three bits count
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(words, 28 - kRight));  // bit 3 chooses the half
    return hn::Vec<FloatTag>{_mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, codes),
                                              _mm256_permutevar8x32_ps(table.high, codes), upper)};
  }
  template <int kRight>
  static HWY_INLINE F32x16 values_of(const Table& table, __m256i words) {
    return {eight_values_of<kRight>(table, words), eight_values_of<kRight + 4>(table, words)};
  }
  __m256 low_, high_;
#endif
};

// Codes become halves, whose exponent is biased by 8 more: every E4M3 is then value * 2^-8 exactly, subnormals too, for
// which the conversion does not look at the flush modes. What would be 480 * 2^-8 gets an exponent of ones and is NaN.
template <>
class CodedRows<FP8> {
 public:
  using Values = Decoded<4>;
#if HWY_TARGET == HWY_AVX3
  HWY_INLINE Values decode(const std::byte* row, Index k) const {
    const std::uint8_t* block = block_of<FP8>(row, k);
    const __m512 scale = _mm512_set1_ps(read_float(block) * 0x1p8f);
    const __m512i first = halves_of(block + 4);
    const __m512i second = halves_of(block + 36);
    return {
        { F32x16{_mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(first)), scale)},
          F32x16{_mm512_mul_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(first, 1)), scale)},
          F32x16{_mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(second)), scale)},
          F32x16 {
            _mm512_mul_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(second, 1)), scale)
          } }};
  }

 private:
  static HWY_INLINE __m512i halves_of(const std::uint8_t* codes) {  // of 32
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
    const __m512i magnitude = _mm512_and_si512(_mm512_slli_epi16(wide, 7), _mm512_set1_epi16(0x3f80));
    const __m512i nan = _mm512_slli_epi16(_mm512_subs_epu16(magnitude, _mm512_set1_epi16(0x3f00)), 7);
    const __m512i sign = _mm512_and_si512(wide, _mm512_set1_epi16(-0x8000));
    return _mm512_or_si512(_mm512_or_si512(magnitude, nan), sign);
  }
#else
  HWY_INLINE Values decode(const std::byte* row, Index k) const {
    const std::uint8_t* block = block_of<FP8>(row, k);
    const F32x16 scale = set(read_float(block) * 0x1p8f);
    return {{multiply(halves_of(block + 4), scale), multiply(halves_of(block + 20), scale),
             multiply(halves_of(block + 36), scale), multiply(halves_of(block + 52), scale)}};
  }

 private:
  static HWY_INLINE F32x16 halves_of(const std::uint8_t* codes) {  // of 16
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m256i magnitude = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(0x3f80));
    const __m256i nan = _mm256_slli_epi16(_mm256_subs_epu16(magnitude, _mm256_set1_epi16(0x3f00)), 7);
    const __m256i sign = _mm256_and_si256(wide, _mm256_set1_epi16(-0x8000));
    const __m256i halves = _mm256_or_si256(_mm256_or_si256(magnitude, nan), sign);
    using Float = hn::Vec<FloatTag>;
    return {Float{_mm256_cvtph_ps(_mm256_castsi256_si128(halves))},
            Float{_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))}};
  }
#endif
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
