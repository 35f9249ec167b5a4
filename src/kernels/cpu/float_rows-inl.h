// Rows of weights that multiply in fp32, sixteen columns at a time: plain ones, and the vector twins of row_formats.h.
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

// Each has load_weights(row, k): columns k to k + 15 of the row that begins at `row`; k is a multiple of 16.
template <class Element>  // float or F16
struct PlainRows {
  HWY_INLINE F32x16 load_weights(const std::byte* row, Index k) const {
    if constexpr (std::is_same_v<Element, F16>) {
      return load_f16(reinterpret_cast<const F16*>(row) + k);
    } else {
      return load(reinterpret_cast<const float*>(row) + k);
    }
  }
};

HWY_INLINE __m128i load_16_bytes(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

template <class Format>
class CodedRows;

template <>
class CodedRows<NF4> {
 public:
#if HWY_TARGET == HWY_AVX3
  HWY_INLINE CodedRows() : table_(_mm512_loadu_ps(kNF4Values.data())) {}
#else
  HWY_INLINE CodedRows() : low_(_mm256_loadu_ps(kNF4Values.data())), high_(_mm256_loadu_ps(kNF4Values.data() + 8)) {}
#endif
  HWY_INLINE F32x16 load_weights(const std::byte* row, Index k) const {
    const auto at = static_cast<std::size_t>(k);
    const auto* block = reinterpret_cast<const std::uint8_t*>(row) + at / kRowBlock * NF4::kBlockBytes;
    const __m128i bytes = load_16_bytes(block + 4 + at % kRowBlock / 32 * 16);
    const __m128i shifted = _mm_srl_epi16(bytes, _mm_cvtsi32_si128(static_cast<int>(at % 32 / 16 * 4)));
    return multiply(values_of(_mm_and_si128(shifted, _mm_set1_epi8(15))), set(read_float(block)));
  }

 private:
#if HWY_TARGET == HWY_AVX3
  HWY_INLINE F32x16 values_of(__m128i codes) const {
    return F32x16{_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), table_)};
  }
  __m512 table_;
#else
  HWY_INLINE __m256 eight_values_of(__m256i codes) const {  // bit 3 of a code chooses the half of the table
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low_, codes), _mm256_permutevar8x32_ps(high_, codes), upper);
  }
  HWY_INLINE F32x16 values_of(__m128i codes) const {
    using Float = hn::Vec<FloatTag>;
    return {Float{eight_values_of(_mm256_cvtepu8_epi32(codes))},
            Float{eight_values_of(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)))}};
  }
  __m256 low_, high_;
#endif
};

template <>
class CodedRows<FP8> {
 public:
  // As halves, whose exponent is biased by 8 more: every E4M3 becomes value / 256 exactly, subnormals too, for which the
  // conversion does not look at the flush modes. What stands for NaN would be 480 and is made one.
  HWY_INLINE F32x16 load_weights(const std::byte* row, Index k) const {
    const auto at = static_cast<std::size_t>(k);
    const auto* block = reinterpret_cast<const std::uint8_t*>(row) + at / kRowBlock * FP8::kBlockBytes;
    const __m256i codes = _mm256_cvtepi8_epi16(load_16_bytes(block + 4 + at % kRowBlock));
    const __m256i magnitude = _mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(0x3f80));
    const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x3f80));
    const __m256i sign = _mm256_and_si256(codes, _mm256_set1_epi16(-0x8000));
    const __m256i halves =
        _mm256_or_si256(_mm256_or_si256(magnitude, sign), _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
    return multiply(multiply(widen(halves), set(256.0f)), set(read_float(block)));
  }

 private:
#if HWY_TARGET == HWY_AVX3
  static HWY_INLINE F32x16 widen(__m256i halves) { return F32x16{_mm512_cvtph_ps(halves)}; }
#else
  static HWY_INLINE F32x16 widen(__m256i halves) {
    using Float = hn::Vec<FloatTag>;
    return {Float{_mm256_cvtph_ps(_mm256_castsi256_si128(halves))},
            Float{_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))}};
  }
#endif
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
