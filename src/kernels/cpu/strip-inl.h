// A packed strip in vector form: sixteen rows are the lanes. Unpacks the codes of a quad and decodes the scales of a
// group for any block format, from what its struct says (tensor/block_formats.h): a new format needs code here only
// when its scale fields are laid out in a new way (StripScales).
#include <array>
#include <cstdint>

#include "kernels/strip_layout.h"

#if defined(JERICHO_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_STRIP_INL_H_
#undef JERICHO_STRIP_INL_H_
#else
#define JERICHO_STRIP_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

// 64 bytes: four codes of each of 16 rows.
#if HWY_TARGET == HWY_AVX3
using Bytes64 = __m512i;
#else
struct Bytes64 {
  __m256i lo, hi;
};
#endif

#if HWY_TARGET == HWY_AVX3
HWY_INLINE Bytes64 load_bytes(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
template <int kRight>  // shifts 16-bit units: the caller masks what crosses bytes
HWY_INLINE Bytes64 shift_bytes(Bytes64 v) {
  if constexpr (kRight > 0) return _mm512_srli_epi16(v, kRight);
  if constexpr (kRight < 0) return _mm512_slli_epi16(v, -kRight);
  return v;
}
HWY_INLINE Bytes64 mask_bytes(Bytes64 v, int mask) {
  return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
}
HWY_INLINE Bytes64 or_bytes(Bytes64 a, Bytes64 b) { return _mm512_or_si512(a, b); }
#else
HWY_INLINE Bytes64 load_bytes(const std::uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
template <int kRight>
HWY_INLINE Bytes64 shift_bytes(Bytes64 v) {
  if constexpr (kRight > 0) return {_mm256_srli_epi16(v.lo, kRight), _mm256_srli_epi16(v.hi, kRight)};
  if constexpr (kRight < 0) return {_mm256_slli_epi16(v.lo, -kRight), _mm256_slli_epi16(v.hi, -kRight)};
  return v;
}
HWY_INLINE Bytes64 mask_bytes(Bytes64 v, int mask) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
  return {_mm256_and_si256(v.lo, m), _mm256_and_si256(v.hi, m)};
}
HWY_INLINE Bytes64 or_bytes(Bytes64 a, Bytes64 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
#endif

// The unsigned codes of one quad of the group at `group`: packed_matrix.h has the planes.
template <class Format, int kQuad>
HWY_INLINE Bytes64 quad_codes(const std::uint8_t* group) {
  if constexpr (Format::kCodeBits == 8) {
    return load_bytes(group + kQuad * 64);
  } else {
    Bytes64 codes = mask_bytes(shift_bytes < kQuad < 4 ? 0 : 4 > (load_bytes(group + kQuad % 4 * 64)), 0x0f);
    if constexpr (Format::kCodeBits == 5) {
      codes = or_bytes(codes, mask_bytes(shift_bytes<kQuad - 4>(load_bytes(group + 256)), 0x10));
    }
    if constexpr (Format::kCodeBits == 6) {
      const Bytes64 plane = load_bytes(group + 256 + kQuad / 4 * 64);
      codes = or_bytes(codes, mask_bytes(shift_bytes<2 * (kQuad % 4) - 4>(plane), 0x30));
    }
    return codes;
  }
}

struct GroupCodes {
  Bytes64 quad[8];
};

template <class Format>
HWY_INLINE GroupCodes group_codes(const std::uint8_t* group) {
  return {{quad_codes<Format, 0>(group), quad_codes<Format, 1>(group), quad_codes<Format, 2>(group),
           quad_codes<Format, 3>(group), quad_codes<Format, 4>(group), quad_codes<Format, 5>(group),
           quad_codes<Format, 6>(group), quad_codes<Format, 7>(group)}};
}

HWY_INLINE F32x16 load_half_field(const std::uint8_t* p) { return load_f16(reinterpret_cast<const F16*>(p)); }
HWY_INLINE I32x16 widen_bytes(__m128i bytes) {
#if HWY_TARGET == HWY_AVX3
  return I32x16{_mm512_cvtepu8_epi32(bytes)};
#else
  using Int = hn::Vec<IntTag>;
  return {Int{_mm256_cvtepu8_epi32(bytes)}, Int{_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))}};
#endif
}
HWY_INLINE __m128i load_byte_field(const std::uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
HWY_INLINE I32x16 load_signed_field(const std::uint8_t* p) {
#if HWY_TARGET == HWY_AVX3
  return I32x16{_mm512_cvtepi8_epi32(load_byte_field(p))};
#else
  using Int = hn::Vec<IntTag>;
  const __m128i bytes = load_byte_field(p);
  return {Int{_mm256_cvtepi8_epi32(bytes)}, Int{_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))}};
#endif
}

enum class ScaleLayout {
  kHalf,         // d
  kTwoHalves,    // d, minimum
  kSixBitPairs,  // d, dmin, twelve bytes with eight 6-bit scales and minima (the K-quants)
  kSubScales,    // d, then two int8 sub-scales per group
};

template <class Format>
constexpr ScaleLayout scale_layout() {
  constexpr std::size_t kFields = Format::kScaleFields.size();
  constexpr auto kGroups = static_cast<std::size_t>(StripLayout<Format>::kBlockGroups);
  static_assert((kFields == 1 && !Format::kHasMin) || (kFields == 2 && Format::kHasMin) ||
                    (kFields == 14 && kGroups == 8 && Format::kHasMin) ||
                    (kFields == 1 + 2 * kGroups && Format::kHasSub),
                "a scale layout of its own: add it to ScaleLayout and StripScales");
  return Format::kHasSub ? ScaleLayout::kSubScales
         : kFields == 14 ? ScaleLayout::kSixBitPairs
         : kFields == 2  ? ScaleLayout::kTwoHalves
                         : ScaleLayout::kHalf;
}

// The scales of one block, of all sixteen rows, by group: the vector twin of Format::scale().
template <class Format>
class StripScales {
 public:
  static constexpr ScaleLayout kLayout = scale_layout<Format>();
  HWY_INLINE explicit StripScales(const std::uint8_t* fields) : fields_(fields), d_(load_half_field(fields)) {}

  HWY_INLINE F32x16 scale(Index group) const {
    if constexpr (kLayout != ScaleLayout::kSixBitPairs) return d_;
    const __m128i low = byte(group < 4 ? group : group + 4);
    if (group < 4) return multiply(d_, to_float(widen_bytes(_mm_and_si128(low, _mm_set1_epi8(63)))));
    return multiply(d_, to_float(widen_bytes(join(low, byte(group - 4)))));
  }
  HWY_INLINE F32x16 minimum(Index group) const {
    const F32x16 dmin = load_half_field(fields_ + 32);
    if constexpr (kLayout == ScaleLayout::kTwoHalves) return dmin;
    const __m128i low = byte(group + 4);
    if (group < 4) return negate(multiply(dmin, to_float(widen_bytes(_mm_and_si128(low, _mm_set1_epi8(63))))));
    return negate(multiply(dmin, to_float(widen_bytes(join(_mm_srli_epi16(low, 4), byte(group))))));
  }
  HWY_INLINE I32x16 sub(Index group, Index half) const {
    return load_signed_field(fields_ + 32 + 16 * (2 * group + half));
  }

 private:
  HWY_INLINE __m128i byte(Index j) const { return load_byte_field(fields_ + 64 + 16 * j); }  // of the twelve
  // Low four bits of one byte, upper two of another.
  HWY_INLINE static __m128i join(__m128i low, __m128i high) {
    return _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(15)),
                        _mm_and_si128(_mm_srli_epi16(high, 2), _mm_set1_epi8(0x30)));
  }
  const std::uint8_t* fields_;
  F32x16 d_;
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
