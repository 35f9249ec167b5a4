// Sixteen fp32 lanes, the unit in which sums are defined (docs/numerics.md 2): one AVX-512 vector or two AVX2 vectors,
// with the same bits. Written against Highway once per target; the kernels on top never ask how wide a vector is.
// Start at F32x16; sum() and sums_of_16() hold the tree of numerics.md 2, exp() and
// tanh() are the twins of kernels/exp.h and tanh.h.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/half.h"
#include "base/index.h"
#include "kernels/exp.h"
#include "kernels/tanh.h"

#if defined(JERICHO_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_LANES_INL_H_
#undef JERICHO_LANES_INL_H_
#else
#define JERICHO_LANES_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr bool kWide = HWY_TARGET == HWY_AVX3;

using FloatTag = hn::CappedTag<float, 16>;
using IntTag = hn::RebindToSigned<FloatTag>;
template <class T>
using NarrowTag = hn::Rebind<T, FloatTag>;  // as many lanes of a smaller type
inline constexpr Index kPart = kWide ? 16 : 8;

template <class V>
struct Halves {
  V lo, hi;
};
#if HWY_TARGET == HWY_AVX3
using F32x16 = hn::Vec<FloatTag>;
using I32x16 = hn::Vec<IntTag>;
#else
using F32x16 = Halves<hn::Vec<FloatTag> >;
using I32x16 = Halves<hn::Vec<IntTag> >;
#endif

// An operation of Highway on the whole vector or on both halves.
#define JERICHO_LANES_1(name, op)          \
  template <class V>                       \
  HWY_INLINE V name(V a) {                 \
    return hn::op(a);                      \
  }                                        \
  template <class V>                       \
  HWY_INLINE Halves<V> name(Halves<V> a) { \
    return {hn::op(a.lo), hn::op(a.hi)};   \
  }
#define JERICHO_LANES_2(name, op)                       \
  template <class V>                                    \
  HWY_INLINE V name(V a, V b) {                         \
    return hn::op(a, b);                                \
  }                                                     \
  template <class V>                                    \
  HWY_INLINE Halves<V> name(Halves<V> a, Halves<V> b) { \
    return {hn::op(a.lo, b.lo), hn::op(a.hi, b.hi)};    \
  }
#define JERICHO_LANES_3(name, op)                                    \
  template <class V>                                                 \
  HWY_INLINE V name(V a, V b, V c) {                                 \
    return hn::op(a, b, c);                                          \
  }                                                                  \
  template <class V>                                                 \
  HWY_INLINE Halves<V> name(Halves<V> a, Halves<V> b, Halves<V> c) { \
    return {hn::op(a.lo, b.lo, c.lo), hn::op(a.hi, b.hi, c.hi)};     \
  }
// A selection: `value` where `a op b`, else `otherwise`.
#define JERICHO_LANES_SELECT(name, op)                                                           \
  template <class V>                                                                             \
  HWY_INLINE V name(V a, V b, V value, V otherwise) {                                            \
    return hn::IfThenElse(hn::op(a, b), value, otherwise);                                       \
  }                                                                                              \
  template <class V>                                                                             \
  HWY_INLINE Halves<V> name(Halves<V> a, Halves<V> b, Halves<V> value, Halves<V> otherwise) {    \
    return {name(a.lo, b.lo, value.lo, otherwise.lo), name(a.hi, b.hi, value.hi, otherwise.hi)}; \
  }

JERICHO_LANES_1(abs, Abs)
JERICHO_LANES_1(negate, Neg)
JERICHO_LANES_1(rint, Round)  // to nearest even
JERICHO_LANES_2(add, Add)
JERICHO_LANES_2(subtract, Sub)
JERICHO_LANES_2(multiply, Mul)
JERICHO_LANES_2(divide, Div)
JERICHO_LANES_2(bit_and, And)
JERICHO_LANES_2(greater, Max)  // a > b ? a : b, also for NaN
JERICHO_LANES_2(lesser, Min)   // a < b ? a : b, also for NaN
JERICHO_LANES_3(fma, MulAdd)   // a * b + c, rounded once
JERICHO_LANES_SELECT(where_less, Lt)
JERICHO_LANES_SELECT(where_greater, Gt)
JERICHO_LANES_SELECT(where_equal, Eq)
#undef JERICHO_LANES_1
#undef JERICHO_LANES_2
#undef JERICHO_LANES_3
#undef JERICHO_LANES_SELECT

#if HWY_TARGET == HWY_AVX3
#define JERICHO_LANES_FROM(part) \
  { part(0) }
#define JERICHO_LANES_TO(part) part(0, v)
#else
#define JERICHO_LANES_FROM(part) \
  { part(0), part(8) }
#define JERICHO_LANES_TO(part) part(0, v.lo), part(8, v.hi)
#endif

HWY_INLINE F32x16 set(float x) {
#define JERICHO_PART(i) hn::Set(FloatTag{}, x)
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE I32x16 set_int(std::int32_t x) {
#define JERICHO_PART(i) hn::Set(IntTag{}, x)
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE F32x16 zero() { return set(0.0f); }
HWY_INLINE F32x16 load(const float* x) {
#define JERICHO_PART(i) hn::LoadU(FloatTag{}, x + (i))
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE void store(F32x16 v, float* x) {
#define JERICHO_PART(i, value) hn::StoreU(value, FloatTag{}, x + (i))
  JERICHO_LANES_TO(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE I32x16 load_int(const std::int32_t* x) {
#define JERICHO_PART(i) hn::LoadU(IntTag{}, x + (i))
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE void store_int(I32x16 v, std::int32_t* x) {
#define JERICHO_PART(i, value) hn::StoreU(value, IntTag{}, x + (i))
  JERICHO_LANES_TO(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE F32x16 load_f16(const F16* x) {
#define JERICHO_PART(i) \
  hn::PromoteTo(FloatTag{}, hn::LoadU(NarrowTag<hwy::float16_t>{}, reinterpret_cast<const hwy::float16_t*>(x) + (i)))
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE F32x16 load_bf16(const BF16* x) {
#define JERICHO_PART(i)                        \
  hn::BitCast(FloatTag{},                      \
              hn::ShiftLeft<16>(hn::PromoteTo( \
                  IntTag{}, hn::LoadU(NarrowTag<std::uint16_t>{}, reinterpret_cast<const std::uint16_t*>(x) + (i)))))
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE F32x16 load_i8(const std::int8_t* x) {
#define JERICHO_PART(i) hn::ConvertTo(FloatTag{}, hn::PromoteTo(IntTag{}, hn::LoadU(NarrowTag<std::int8_t>{}, x + (i))))
  return JERICHO_LANES_FROM(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE F32x16 to_float(I32x16 a) {
#if HWY_TARGET == HWY_AVX3
  return hn::ConvertTo(FloatTag{}, a);
#else
  return {hn::ConvertTo(FloatTag{}, a.lo), hn::ConvertTo(FloatTag{}, a.hi)};
#endif
}
// Of integral values within int32, otherwise anything.
HWY_INLINE I32x16 to_int(F32x16 a) {
#if HWY_TARGET == HWY_AVX3
  return I32x16{_mm512_cvttps_epi32(a.raw)};
#else
  using Int = hn::Vec<IntTag>;
  return {Int{_mm256_cvttps_epi32(a.lo.raw)}, Int{_mm256_cvttps_epi32(a.hi.raw)}};
#endif
}
HWY_INLINE I32x16 bits_of(F32x16 a) {
#if HWY_TARGET == HWY_AVX3
  return hn::BitCast(IntTag{}, a);
#else
  return {hn::BitCast(IntTag{}, a.lo), hn::BitCast(IntTag{}, a.hi)};
#endif
}
HWY_INLINE F32x16 from_bits(I32x16 a) {
#if HWY_TARGET == HWY_AVX3
  return hn::BitCast(FloatTag{}, a);
#else
  return {hn::BitCast(FloatTag{}, a.lo), hn::BitCast(FloatTag{}, a.hi)};
#endif
}
template <int kBits>
HWY_INLINE I32x16 shift_left(I32x16 a) {
#if HWY_TARGET == HWY_AVX3
  return hn::ShiftLeft<kBits>(a);
#else
  return {hn::ShiftLeft<kBits>(a.lo), hn::ShiftLeft<kBits>(a.hi)};
#endif
}
// Codes in [-128, 127] as bytes.
HWY_INLINE void store_i8(I32x16 v, std::int8_t* x) {
#define JERICHO_PART(i, value) \
  hn::StoreU(hn::DemoteTo(NarrowTag<std::int8_t>{}, value), NarrowTag<std::int8_t>{}, x + (i))
  JERICHO_LANES_TO(JERICHO_PART);
#undef JERICHO_PART
}
HWY_INLINE void store_f16(F32x16 v, F16* x) {
#if HWY_TARGET == HWY_AVX3
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm512_cvtps_ph(v.raw, _MM_FROUND_TO_NEAREST_INT));
#else
  _mm_storeu_si128(reinterpret_cast<__m128i*>(x), _mm256_cvtps_ph(v.lo.raw, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(x + 8), _mm256_cvtps_ph(v.hi.raw, _MM_FROUND_TO_NEAREST_INT));
#endif
}

// to_bf16() of base/half.h, by its integer steps: subnormals to zero, NaN quiet, otherwise nearest even. The result is
// the bf16 in the upper half of each lane, that is, its fp32 value.
template <class Int>
HWY_INLINE Int bf16_bits_part(Int x) {
  const hn::DFromV<Int> d;
  const Int exponent = hn::Set(d, 0x7f800000);
  const Int magnitude = hn::And(x, hn::Set(d, 0x7fffffff));
  const Int odd = hn::And(hn::ShiftRight<16>(x), hn::Set(d, 1));
  Int r = hn::Add(x, hn::Add(odd, hn::Set(d, 0x7fff)));
  r = hn::IfThenElse(hn::Gt(magnitude, exponent), hn::Or(x, hn::Set(d, 0x400000)), r);
  r = hn::IfThenElse(hn::Eq(hn::And(x, exponent), hn::Zero(d)), hn::AndNot(hn::Set(d, 0x7fffffff), x), r);
  return hn::AndNot(hn::Set(d, 0xffff), r);
}
HWY_INLINE F32x16 round_to_bf16(F32x16 v) {
#if HWY_TARGET == HWY_AVX3
  return from_bits(bf16_bits_part(bits_of(v)));
#else
  const I32x16 x = bits_of(v);
  return from_bits({bf16_bits_part(x.lo), bf16_bits_part(x.hi)});
#endif
}
// Of values that are bf16 already.
HWY_INLINE void store_bf16(F32x16 v, BF16* x) {
#if HWY_TARGET == HWY_AVX3
  const __m512i upper = _mm512_srli_epi32(_mm512_castps_si512(v.raw), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm512_cvtepi32_epi16(upper));
#else
  const __m256i lo = _mm256_srli_epi32(_mm256_castps_si256(v.lo.raw), 16);
  const __m256i hi = _mm256_srli_epi32(_mm256_castps_si256(v.hi.raw), 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), packed);
#endif
}
#undef JERICHO_LANES_FROM
#undef JERICHO_LANES_TO

// The first `count` (1 to 15) elements, zeros after them: tails of rows. Not for inner loops.
HWY_INLINE F32x16 load_first(const float* x, Index count) {
  alignas(64) float staged[16] = {};
  for (Index i = 0; i < count; ++i) staged[i] = x[i];
  return load(staged);
}
HWY_INLINE void store_first(F32x16 v, float* x, Index count) {
  alignas(64) float staged[16];
  store(v, staged);
  for (Index i = 0; i < count; ++i) x[i] = staged[i];
}
HWY_INLINE F32x16 load_up_to_16(const float* x, Index count) { return count >= 16 ? load(x) : load_first(x, count); }
HWY_INLINE void store_up_to_16(F32x16 v, float* x, Index count) {
  if (count >= 16) return store(v, x);
  store_first(v, x, count);
}

// Lanes i and i + 8 of a vector, added: the first step of every reduction.
HWY_INLINE __m256 fold_to_8(F32x16 v) {
#if HWY_TARGET == HWY_AVX3
  return _mm256_add_ps(_mm512_castps512_ps256(v.raw), _mm512_extractf32x8_ps(v.raw, 1));
#else
  return _mm256_add_ps(v.lo.raw, v.hi.raw);
#endif
}
HWY_INLINE float sum(F32x16 v) {
  const __m256 eight = fold_to_8(v);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
HWY_INLINE float maximum(F32x16 v) {  // of lanes that are no NaN
#if HWY_TARGET == HWY_AVX3
  return hn::GetLane(hn::MaxOfLanes(FloatTag{}, v));
#else
  return hn::GetLane(hn::MaxOfLanes(FloatTag{}, hn::Max(v.lo, v.hi)));
#endif
}

// Lanes 0, 2, ... 30 of a and b side by side, and lanes 1, 3, ... 31.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE F32x16 even_lanes(F32x16 a, F32x16 b) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return F32x16{_mm512_permutex2var_ps(a.raw, from, b.raw)};
}
HWY_INLINE F32x16 odd_lanes(F32x16 a, F32x16 b) {
  const __m512i from = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return F32x16{_mm512_permutex2var_ps(a.raw, from, b.raw)};
}
#else
template <int kShuffle>
HWY_INLINE hn::Vec<FloatTag> every_other_lane(F32x16 a) {
  const __m256 pairs = _mm256_shuffle_ps(a.lo.raw, a.hi.raw, kShuffle);
  return hn::Vec<FloatTag>{_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xd8))};
}
HWY_INLINE F32x16 even_lanes(F32x16 a, F32x16 b) { return {every_other_lane<0x88>(a), every_other_lane<0x88>(b)}; }
HWY_INLINE F32x16 odd_lanes(F32x16 a, F32x16 b) { return {every_other_lane<0xdd>(a), every_other_lane<0xdd>(b)}; }
#endif

// Lane i of the result is sum(v[i]), by the same tree: reductions side by side, first two to a vector, then four, eight
// and sixteen, so that the places they free are filled.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE __m512 fold_to_8(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
HWY_INLINE __m512 fold_to_4(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
HWY_INLINE __m512 fold_to_2(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}
HWY_INLINE __m512 fold_to_1(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
HWY_INLINE F32x16 sums_of_16(const F32x16* v) {
  __m512 four[4];  // of v[i], v[4 + i], v[8 + i], v[12 + i], one per 128 bits
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    four[i] = fold_to_4(fold_to_8(v[i].raw, v[4 + i].raw), fold_to_8(v[8 + i].raw, v[12 + i].raw));
  return F32x16{fold_to_1(fold_to_2(four[0], four[1]), fold_to_2(four[2], four[3]))};
}
#else
HWY_INLINE __m256 fold_to_4(__m256 a, __m256 b) {
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
HWY_INLINE __m256 fold_to_2(__m256 a, __m256 b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
}
HWY_INLINE __m256 sums_of_8(const F32x16* v) {
  const __m256 x = fold_to_2(fold_to_4(fold_to_8(v[0]), fold_to_8(v[4])), fold_to_4(fold_to_8(v[1]), fold_to_8(v[5])));
  const __m256 z = fold_to_2(fold_to_4(fold_to_8(v[2]), fold_to_8(v[6])), fold_to_4(fold_to_8(v[3]), fold_to_8(v[7])));
  return _mm256_add_ps(_mm256_shuffle_ps(x, z, 0x88), _mm256_shuffle_ps(x, z, 0xdd));
}
HWY_INLINE F32x16 sums_of_16(const F32x16* v) {
  return {hn::Vec<FloatTag>{sums_of_8(v)}, hn::Vec<FloatTag>{sums_of_8(v + 8)}};
}
#endif

HWY_INLINE F32x16 exp(F32x16 x) {
  using namespace exp_constants;
  const F32x16 n = rint(multiply(x, set(kLog2E)));
  F32x16 r = fma(n, set(-kLn2High), x);
  r = fma(n, set(-kLn2Low), r);
  F32x16 p = set(kTaylor[0]);
  for (int i = 1; i < 8; ++i) p = fma(p, r, set(kTaylor[i]));
  p = from_bits(add(bits_of(p), shift_left<23>(to_int(n))));
  p = where_less(x, set(kLowest), zero(), p);
  p = where_greater(x, set(kHighest), set(std::numeric_limits<float>::infinity()), p);
  return where_equal(x, x, p, x);  // NaN stays NaN
}

HWY_INLINE F32x16 tanh(F32x16 x) {
  using namespace tanh_constants;
  const F32x16 square = multiply(x, x);
  F32x16 p = set(kOdd[0]);
  for (int i = 1; i < 5; ++i) p = fma(p, square, set(kOdd[i]));
  const F32x16 small = fma(multiply(x, square), p, x);
  const F32x16 magnitude = abs(x);
  const F32x16 large = subtract(set(1.0f), divide(set(2.0f), add(exp(add(magnitude, magnitude)), set(1.0f))));
  return where_less(magnitude, set(kSmall), small, where_less(x, zero(), negate(large), large));
}
HWY_INLINE F32x16 soft_capped(F32x16 x, float cap) { return multiply(set(cap), tanh(divide(x, set(cap)))); }

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
