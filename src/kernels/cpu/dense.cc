// Dense products on fp32 units, and the packing of their operands: see kernels/dense.h. bf16 cells are multiplied as
// two fp32 values; processors with a bf16 product have dense_bf16.cc. Compiled once per target.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/training_targets.h"
#include "kernels/dense.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dense.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/dense_tiles-inl.h"
#include "kernels/cpu/float_rows16-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE F32x16 high_value(I32x16 cell) { return from_bits(bit_and(cell, set_int(-65536))); }
HWY_INLINE F32x16 low_value(I32x16 cell) { return from_bits(shift_left<16>(cell)); }

struct F32Product {
  using Left = F32x16;
  using Right = F32x16;
  static HWY_INLINE Left left(const std::uint32_t* cell) {
    return from_bits(set_int(static_cast<std::int32_t>(*cell)));
  }
  static HWY_INLINE Right right(const std::uint32_t* cells) { return from_bits(load_cells(cells)); }
  static HWY_INLINE F32x16 add(Left a, Right b, F32x16 sum) { return fma(a, b, sum); }
};

struct PairProduct {
  struct Values {
    F32x16 low, high;
  };
  using Left = Values;
  using Right = Values;
  static HWY_INLINE Values of(I32x16 cells) { return {low_value(cells), high_value(cells)}; }
  static HWY_INLINE Left left(const std::uint32_t* cell) { return of(set_int(static_cast<std::int32_t>(*cell))); }
  static HWY_INLINE Right right(const std::uint32_t* cells) { return of(load_cells(cells)); }
  static HWY_INLINE F32x16 add(const Left& a, const Right& b, F32x16 sum) {
    return fma(a.low, b.low, fma(a.high, b.high, sum));
  }
};

#if HWY_TARGET == HWY_AVX3
HWY_INLINE I32x16 shift_right_16(I32x16 a) {
  return hn::BitCast(IntTag{}, hn::ShiftRight<16>(hn::BitCast(hn::RebindToUnsigned<FloatTag>{}, a)));
}
HWY_INLINE I32x16 bit_or(I32x16 a, I32x16 b) { return hn::Or(a, b); }
#else
HWY_INLINE hn::Vec<IntTag> shift_right_part(hn::Vec<IntTag> a) {
  return hn::BitCast(IntTag{}, hn::ShiftRight<16>(hn::BitCast(hn::RebindToUnsigned<FloatTag>{}, a)));
}
HWY_INLINE I32x16 shift_right_16(I32x16 a) { return {shift_right_part(a.lo), shift_right_part(a.hi)}; }
HWY_INLINE I32x16 bit_or(I32x16 a, I32x16 b) { return {hn::Or(a.lo, b.lo), hn::Or(a.hi, b.hi)}; }
#endif

// A bf16 value in the upper half of each lane of both: the cells of the pairs.
HWY_INLINE I32x16 pair_cells(F32x16 low, F32x16 high) { return bit_or(shift_right_16(bits_of(low)), bits_of(high)); }

HWY_INLINE F32x16 load_rounded(const ConstFloatRows& x, Index t, Index c, Index count) {
  const F32x16 v = load_values(x, t, c, count);
  return x.dtype == DType::kF32 ? round_to_bf16(v) : v;
}

HWY_INLINE void store_cells(I32x16 v, std::uint32_t* out) { store_int(v, reinterpret_cast<std::int32_t*>(out)); }

}  // namespace

void dense_interleave(DType type, const ConstFloatRows& x, Index padded_cols, std::uint32_t* out, Index out_stride) {
  const bool pairs = type == DType::kBF16;
  for (Index u = 0; u < dense_cells(type, x.rows); ++u) {
    std::uint32_t* cells = out + u * out_stride;
    for (Index c = 0; c < padded_cols; c += 16) {
      const Index count = std::clamp<Index>(x.cols - c, 0, 16);
      I32x16 v = set_int(0);
      if (count > 0 && !pairs) v = bits_of(load_values(x, u, c, count));
      if (count > 0 && pairs) {
        const F32x16 high = 2 * u + 1 < x.rows ? load_rounded(x, 2 * u + 1, c, count) : zero();
        v = pair_cells(load_rounded(x, 2 * u, c, count), high);
      }
      if (padded_cols - c >= 16) {
        store_cells(v, cells + c);
      } else {
        alignas(64) std::uint32_t staged[16];
        store_cells(v, staged);
        std::copy(staged, staged + (padded_cols - c), cells + c);
      }
    }
  }
}

void dense_transpose(DType type, const ConstFloatRows& x, std::uint32_t* out, Index width) {
  const bool pairs = type == DType::kBF16;
  const Index cells = dense_cells(type, x.cols);
  alignas(64) std::uint32_t rows[16][16];
  I32x16 columns[16];
  for (Index n = 0; n < width; n += 16) {
    for (Index u = 0; u < cells; u += 16) {
      for (Index r = 0; r < 16; ++r) {
        I32x16 v = set_int(0);
        if (n + r < x.rows && !pairs) v = bits_of(load_values(x, n + r, u, x.cols - u));
        if (n + r < x.rows && pairs) {
          const F32x16 first = load_rounded(x, n + r, 2 * u, x.cols - 2 * u);
          const Index left = x.cols - 2 * u - 16;
          const F32x16 second = left > 0 ? load_rounded(x, n + r, 2 * u + 16, left) : zero();
          v = pair_cells(even_lanes(first, second), odd_lanes(first, second));
        }
        store_cells(v, rows[r]);
      }
      transpose_pairs(reinterpret_cast<const std::byte*>(rows), 64, columns);
      for (Index i = 0; i < std::min<Index>(16, cells - u); ++i) store_cells(columns[i], out + (u + i) * width + n);
    }
  }
}

void dense_multiply(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                    DenseStore store_as, const FloatRows& c) {
  if (type == DType::kF32) return multiply_panels<F32Product>(a, b, ends, store_as, c);
  multiply_panels<PairProduct>(a, b, ends, store_as, c);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
