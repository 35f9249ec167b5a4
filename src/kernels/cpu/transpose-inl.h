// Turns rows of bf16 into lanes: sixteen rows of 32 elements (16 pairs each) become, per pair, one vector with a row in
// each lane, split into the even and the odd element as fp32. The bf16 product of numerics.md 3 and 4 runs on these.
#include <immintrin.h>

#include <cstddef>

#include "base/index.h"

#if defined(JERICHO_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_TRANSPOSE_INL_H_
#undef JERICHO_TRANSPOSE_INL_H_
#else
#define JERICHO_TRANSPOSE_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

// Sixteen rows of 64 bytes, `stride` bytes apart: out[p] holds dword p of all rows.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE void transpose_pairs(const std::byte* rows, Index stride, I32x16* out) {
  __m512i column[4][4];  // [four rows][c]: columns c, 4 + c, 8 + c, 12 + c of these rows, one per 128 bits
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const std::byte* four = rows + 4 * i * stride;
    const __m512i r0 = _mm512_loadu_si512(four);
    const __m512i r1 = _mm512_loadu_si512(four + stride);
    const __m512i r2 = _mm512_loadu_si512(four + 2 * stride);
    const __m512i r3 = _mm512_loadu_si512(four + 3 * stride);
    const __m512i low01 = _mm512_unpacklo_epi32(r0, r1);
    const __m512i high01 = _mm512_unpackhi_epi32(r0, r1);
    const __m512i low23 = _mm512_unpacklo_epi32(r2, r3);
    const __m512i high23 = _mm512_unpackhi_epi32(r2, r3);
    column[i][0] = _mm512_unpacklo_epi64(low01, low23);
    column[i][1] = _mm512_unpackhi_epi64(low01, low23);
    column[i][2] = _mm512_unpacklo_epi64(high01, high23);
    column[i][3] = _mm512_unpackhi_epi64(high01, high23);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i even_first = _mm512_shuffle_i32x4(column[0][c], column[1][c], 0x88);
    const __m512i odd_first = _mm512_shuffle_i32x4(column[0][c], column[1][c], 0xdd);
    const __m512i even_last = _mm512_shuffle_i32x4(column[2][c], column[3][c], 0x88);
    const __m512i odd_last = _mm512_shuffle_i32x4(column[2][c], column[3][c], 0xdd);
    out[c] = I32x16{_mm512_shuffle_i32x4(even_first, even_last, 0x88)};
    out[8 + c] = I32x16{_mm512_shuffle_i32x4(even_first, even_last, 0xdd)};
    out[4 + c] = I32x16{_mm512_shuffle_i32x4(odd_first, odd_last, 0x88)};
    out[12 + c] = I32x16{_mm512_shuffle_i32x4(odd_first, odd_last, 0xdd)};
  }
}
#else
HWY_INLINE __m256i load_dwords(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// Eight rows of eight dwords.
HWY_INLINE void transpose_8x8(const std::byte* rows, Index stride, __m256i* out) {
  __m256i column[2][4];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const std::byte* four = rows + 4 * i * stride;
    const __m256i r0 = load_dwords(four);
    const __m256i r1 = load_dwords(four + stride);
    const __m256i r2 = load_dwords(four + 2 * stride);
    const __m256i r3 = load_dwords(four + 3 * stride);
    const __m256i low01 = _mm256_unpacklo_epi32(r0, r1);
    const __m256i high01 = _mm256_unpackhi_epi32(r0, r1);
    const __m256i low23 = _mm256_unpacklo_epi32(r2, r3);
    const __m256i high23 = _mm256_unpackhi_epi32(r2, r3);
    column[i][0] = _mm256_unpacklo_epi64(low01, low23);
    column[i][1] = _mm256_unpackhi_epi64(low01, low23);
    column[i][2] = _mm256_unpacklo_epi64(high01, high23);
    column[i][3] = _mm256_unpackhi_epi64(high01, high23);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    out[c] = _mm256_permute2x128_si256(column[0][c], column[1][c], 0x20);
    out[4 + c] = _mm256_permute2x128_si256(column[0][c], column[1][c], 0x31);
  }
}
HWY_INLINE void transpose_pairs(const std::byte* rows, Index stride, I32x16* out) {
  using Int = hn::Vec<IntTag>;
  for (int half = 0; half < 2; ++half) {
    __m256i lo[8];
    __m256i hi[8];
    transpose_8x8(rows + 32 * half, stride, lo);
    transpose_8x8(rows + 8 * stride + 32 * half, stride, hi);
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) out[8 * half + c] = {Int{lo[c]}, Int{hi[c]}};
  }
}
#endif

HWY_INLINE F32x16 even_of_pair(I32x16 pair) { return from_bits(shift_left<16>(pair)); }
HWY_INLINE F32x16 odd_of_pair(I32x16 pair) { return from_bits(bit_and(pair, set_int(-65536))); }

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
