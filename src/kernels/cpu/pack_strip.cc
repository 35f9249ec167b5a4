// Packing for AVX2 and AVX-512: sixteen rows are transposed in units of a quad (four codes), then the planes of a code
// are put together by shifts. Gives the bytes of its twin in packed_matrix.cc. Compiled once per target; start at
// pack_strip(). Nibbles that lie in the file as in the strip (Q4_0 and its relatives) are transposed as they are.
#include <array>
#include <cstring>

#include "kernels/block_scales.h"
#include "kernels/cpu/file_rows_targets.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pack_strip.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/block_codes-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE void store_bytes(Bytes64 v, std::uint8_t* p) {
#if HWY_TARGET == HWY_AVX3
  _mm512_storeu_si512(p, v);
#else
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), v.hi);
#endif
}

// Sixteen rows of 32 bytes, `stride` apart: quads[t] holds bytes 4t..4t+3 of all rows.
#if HWY_TARGET == HWY_AVX3
HWY_INLINE __m512i two_rows(const std::uint8_t* low, const std::uint8_t* high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low))),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)), 1);
}
HWY_INLINE void transpose_quads(const std::uint8_t* rows, Index stride, Bytes64* quads) {
  __m512i column[2][4];  // [eight rows][c]: quads c and 4 + c of four rows, then of the next four
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const std::uint8_t* eight = rows + 8 * i * stride;
    const __m512i r0 = two_rows(eight, eight + 4 * stride);
    const __m512i r1 = two_rows(eight + stride, eight + 5 * stride);
    const __m512i r2 = two_rows(eight + 2 * stride, eight + 6 * stride);
    const __m512i r3 = two_rows(eight + 3 * stride, eight + 7 * stride);
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
    quads[c] = _mm512_shuffle_i32x4(column[0][c], column[1][c], 0x88);
    quads[4 + c] = _mm512_shuffle_i32x4(column[0][c], column[1][c], 0xdd);
  }
}
#else
HWY_INLINE void transpose_quads(const std::uint8_t* rows, Index stride, Bytes64* quads) {
  __m256i lo[8];
  __m256i hi[8];
  transpose_8x8(reinterpret_cast<const std::byte*>(rows), stride, lo);
  transpose_8x8(reinterpret_cast<const std::byte*>(rows + 8 * stride), stride, hi);
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t) quads[t] = {lo[t], hi[t]};
}
#endif

// Vector kVector of the plane that is kWidth wide: StripLayout::put_code() of its quads.
template <int kCodeBits, int kWidth, int kVector, int kQuad = kVector>
HWY_INLINE Bytes64 plane_vector(const Bytes64* quads) {
  constexpr int kAt = kCodeBits & -(2 * kWidth);
  if constexpr (kWidth == 8) return quads[kVector];
  constexpr int kLeft = kQuad / kWidth * kWidth;
  const Bytes64 bits = mask_bytes(shift_bytes<kAt - kLeft>(quads[kQuad]), ((1 << kWidth) - 1) << kLeft);
  if constexpr (kQuad + kWidth >= 8) {
    return bits;
  } else {
    return or_bytes(bits, plane_vector<kCodeBits, kWidth, kVector, kQuad + kWidth>(quads));
  }
}
template <int kCodeBits, int kWidth, int kVector = 0>
HWY_INLINE void store_plane(const Bytes64* quads, std::uint8_t* group) {
  if constexpr ((kCodeBits & kWidth) != 0 && kVector < kWidth) {
    constexpr int kAt = kCodeBits & -(2 * kWidth);
    store_bytes(plane_vector<kCodeBits, kWidth, kVector>(quads), group + (kAt + kVector) * 64);
    store_plane<kCodeBits, kWidth, kVector + 1>(quads, group);
  }
}

template <class Format>
HWY_INLINE void pack_block_strip(Index cols, const std::uint8_t* file_rows, Index row_bytes, Index rows,
                                 std::uint8_t* strip) {
  using Layout = StripLayout<Format>;
  constexpr int kBits = Format::kCodeBits;
  alignas(64) std::array<std::uint8_t, kStripRows * Layout::kBlockElements> codes;
  const Index scales_begin = Layout::scales_offset(cols, 0);
  const Index scales_end = Layout::scales_offset(cols, cols / Layout::kBlockElements);
  const Index end = strip_bytes(Format::kDType, cols).count;
  std::memset(strip + scales_end, 0, static_cast<std::size_t>(end - scales_end));
  if (rows < kStripRows) {
    codes.fill(0);
    std::memset(strip + scales_begin, 0, static_cast<std::size_t>(scales_end - scales_begin));
  }
  for (Index b = 0; b < cols / Layout::kBlockElements; ++b) {
    std::uint8_t* scales = strip + Layout::scales_offset(cols, b);
    for (Index row = 0; row < rows; ++row) {
      const std::uint8_t* block = file_rows + row * row_bytes + b * Layout::kBlockBytes;
      unpack_codes<Format>(block, codes.data() + row * Layout::kBlockElements);
      put_fields<Format>(scales, row, block);
    }
    for (Index g = 0; g < Layout::kBlockGroups; ++g) {
      Bytes64 quads[8];
      transpose_quads(codes.data() + g * kGroup, Layout::kBlockElements, quads);
      std::uint8_t* group = strip + Layout::codes_offset(b * Layout::kBlockGroups + g);
      store_plane<kBits, 8>(quads, group);
      store_plane<kBits, 4>(quads, group);
      store_plane<kBits, 2>(quads, group);
      store_plane<kBits, 1>(quads, group);
    }
  }
}

}  // namespace

void pack_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip) {
  visit_block_format(
      dtype,
      [&]<class Format>() HWY_ATTR {
        pack_block_strip<Format>(cols, reinterpret_cast<const std::uint8_t*>(file_rows), row_bytes.count, rows,
                                 reinterpret_cast<std::uint8_t*>(strip));
      },
      [&] { jericho::pack_strip(dtype, cols, file_rows, row_bytes, rows, strip); });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
