// A packed strip in vector form: sixteen rows are the lanes. Unpacks the codes of a quad and decodes the scales of a
// group for any block format, from what its struct says (tensor/block_formats.h): a new format needs code here only
// when its scales are of a new kind (StripScales).
#include <array>
#include <cstdint>
#include <cstring>

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
HWY_INLINE Bytes64 look_up(const std::uint8_t* table, Bytes64 v) {  // of 16 bytes
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table))), v);
}
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
HWY_INLINE Bytes64 look_up(const std::uint8_t* table, Bytes64 v) {
  const __m256i t = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(t, v.lo), _mm256_shuffle_epi8(t, v.hi)};
}
#endif

// The multiplicands of a format with a table, by code.
template <class Format>
struct alignas(16) Multiplicands {
  std::array<std::uint8_t, 16> at = [] {
    static_assert(Format::kTable.size() <= 16);
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t code = 0; code < Format::kTable.size(); ++code) {
      bytes[code] = multiplicand<Format>(static_cast<std::uint8_t>(code));
    }
    return bytes;
  }();
};
template <class Format>
inline constexpr Multiplicands<Format> kMultiplicands;

// `below` and the bits of one quad in the plane that is kWidth wide, if codes of kCodeBits have one: StripLayout.
template <int kCodeBits, int kWidth, int kQuad>
HWY_INLINE Bytes64 add_plane(Bytes64 below, const std::uint8_t* group) {
  if constexpr ((kCodeBits & kWidth) == 0) return below;
  constexpr int kAt = kCodeBits & -(2 * kWidth);
  constexpr int kRight = kQuad / kWidth * kWidth - kAt;
  const Bytes64 vector = load_bytes(group + (kAt + kQuad % kWidth) * 64);
  if constexpr (kWidth == 8) return vector;
  const Bytes64 bits = mask_bytes(shift_bytes<kRight>(vector), ((1 << kWidth) - 1) << kAt);
  if constexpr (kAt == 0) return bits;
  return or_bytes(below, bits);
}

// The multiplicands of one quad of the group at `group`.
template <class Format, int kQuad>
HWY_INLINE Bytes64 quad_codes(const std::uint8_t* group) {
  constexpr int kBits = Format::kCodeBits;
  Bytes64 codes{};
  codes = add_plane<kBits, 8, kQuad>(codes, group);
  codes = add_plane<kBits, 4, kQuad>(codes, group);
  codes = add_plane<kBits, 2, kQuad>(codes, group);
  codes = add_plane<kBits, 1, kQuad>(codes, group);
  if constexpr (kHasTable<Format>) codes = look_up(kMultiplicands<Format>.at.data(), codes);
  return codes;
}

// Four activations, for all rows.
HWY_INLINE std::int32_t load_quad(const std::int8_t* x) {
  std::int32_t quad;
  std::memcpy(&quad, x, 4);
  return quad;
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
HWY_INLINE I32x16 widen_signed_bytes(__m128i bytes) {
#if HWY_TARGET == HWY_AVX3
  return I32x16{_mm512_cvtepi8_epi32(bytes)};
#else
  using Int = hn::Vec<IntTag>;
  return {Int{_mm256_cvtepi8_epi32(bytes)}, Int{_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))}};
#endif
}
// Bits [right, right + bits) of each byte.
HWY_INLINE __m128i bits_of_bytes(__m128i bytes, int right, int bits) {
  return _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(right)),
                       _mm_set1_epi8(static_cast<char>((1 << bits) - 1)));
}
HWY_INLINE __m128i join(__m128i low_nibble, __m128i high) { return _mm_or_si128(low_nibble, _mm_slli_epi16(high, 4)); }

// The scales of one block, of all sixteen rows, by group: the vector twin of Format::scale().
template <class Format>
class StripScales {
 public:
  static constexpr ScaleKind kKind = Format::kScales;
  HWY_INLINE explicit StripScales(const std::uint8_t* fields) : fields_(fields) {}

  HWY_INLINE F32x16 scale(Index group) const {
    if constexpr (kKind == ScaleKind::kExponent) {
      return from_bits(shift_left<23>(widen_bytes(_mm_subs_epu8(load_byte_field(fields_), _mm_set1_epi8(1)))));
    } else if constexpr (kKind == ScaleKind::kSixBitPairs) {
      const __m128i low = byte(group < 4 ? group : group + 4);
      if (group < 4) return multiply(half_field(0), to_float(widen_bytes(bits_of_bytes(low, 0, 6))));
      const __m128i sc = join(bits_of_bytes(low, 0, 4), bits_of_bytes(byte(group - 4), 6, 2));
      return multiply(half_field(0), to_float(widen_bytes(sc)));
    } else if constexpr (kKind == ScaleKind::kSixBits) {
      const auto g = static_cast<int>(group);
      const __m128i sc =
          join(bits_of_bytes(byte(2 + g / 2), 4 * (g % 2), 4), bits_of_bytes(byte(g / 4), 2 * (g % 4), 2));
      return multiply(half_field(0), to_float(widen_signed_bytes(_mm_sub_epi8(sc, _mm_set1_epi8(32)))));
    } else if constexpr (kKind == ScaleKind::kBrainHalfZero) {
      return load_bf16(reinterpret_cast<const BF16*>(fields_));
    } else if constexpr (kKind == ScaleKind::kFloat || kKind == ScaleKind::kFloatZero) {
      return load(reinterpret_cast<const float*>(fields_));
    } else {
      return half_field(0);
    }
  }
  HWY_INLINE F32x16 minimum(Index group) const {
    if constexpr (kKind == ScaleKind::kSixBitPairs) {
      const __m128i low = byte(group + 4);
      if (group < 4) return negate(multiply(half_field(1), to_float(widen_bytes(bits_of_bytes(low, 0, 6)))));
      const __m128i m = join(bits_of_bytes(low, 4, 4), bits_of_bytes(byte(group), 6, 2));
      return negate(multiply(half_field(1), to_float(widen_bytes(m))));
    } else if constexpr (kKind == ScaleKind::kSubNibblePairs) {
      return negate(half_field(1));
    } else {
      return half_field(1);
    }
  }
  HWY_INLINE I32x16 sub(Index group, Index half) const {
    const auto i = static_cast<int>(2 * group + half);
    if constexpr (kKind == ScaleKind::kSubSixBits) {
      const __m128i sub = join(bits_of_bytes(byte(i % 8), i / 8 * 4, 4), bits_of_bytes(byte(8 + i % 4), i / 4 * 2, 2));
      return widen_signed_bytes(_mm_sub_epi8(sub, _mm_set1_epi8(32)));
    } else if constexpr (kKind == ScaleKind::kSubNibblePairs) {
      return widen_bytes(bits_of_bytes(byte(i), 0, 4));
    } else {
      return widen_signed_bytes(byte(i));
    }
  }
  HWY_INLINE I32x16 zero() const {  // follows the one scale
    return widen_signed_bytes(load_byte_field(fields_ + kStripRows * Format::kScaleFields[0].width()));
  }
  HWY_INLINE I32x16 minimum_sub(Index group, Index half) const {  // kSubNibblePairs
    return widen_bytes(bits_of_bytes(byte(2 * group + half), 4, 4));
  }

 private:
  static constexpr Index kHalves = Format::kHasMin ? 2 : 1;
  HWY_INLINE F32x16 half_field(Index i) const {
    return load_half_field(fields_ + 32 * i);
  }  // halves are the first fields
  HWY_INLINE __m128i byte(Index i) const { return load_byte_field(fields_ + 32 * kHalves + 16 * i); }
  const std::uint8_t* fields_;
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
