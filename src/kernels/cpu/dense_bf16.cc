// Dense products of bf16 cells by vdpbf16ps, which multiplies a cell in one instruction: see kernels/dense.h.
#include "kernels/cpu/training_targets.h"
#include "kernels/dense.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dense_bf16.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#define JERICHO_DENSE_ATTRIBUTES HWY_TARGET_STR ",avx512bf16"
#include "kernels/cpu/dense_tiles-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_DENSE_ATTRIBUTES)
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

struct BF16Product {
  using Left = __m512i;
  using Right = __m512i;
  static HWY_INLINE Left left(const std::uint32_t* cell) { return _mm512_set1_epi32(static_cast<int>(*cell)); }
  static HWY_INLINE Right right(const std::uint32_t* cells) { return _mm512_loadu_si512(cells); }
  static HWY_INLINE F32x16 add(Left a, Right b, F32x16 sum) {
    return F32x16{_mm512_dpbf16_ps(sum.raw, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b))};
  }
};

}  // namespace

void dense_multiply_bf16(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                         DenseStore store_as, const FloatRows& c) {
  if (type == DType::kF32) return dense_multiply(type, a, b, ends, store_as, c);
  multiply_panels<BF16Product>(a, b, ends, store_as, c);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif
