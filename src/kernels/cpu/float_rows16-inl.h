// Sixteen values at a time of rows that are F32 or BF16 (kernels/dense.h), in and out of lanes.
#include <algorithm>

#include "kernels/dense.h"

#if defined(JERICHO_FLOAT_ROWS16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_FLOAT_ROWS16_INL_H_
#undef JERICHO_FLOAT_ROWS16_INL_H_
#else
#define JERICHO_FLOAT_ROWS16_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

// `count` values from column c of row t, as fp32; zeros after them.
HWY_INLINE F32x16 load_values(const ConstFloatRows& x, Index t, Index c, Index count) {
  if (x.dtype == DType::kF32) return load_up_to_16(reinterpret_cast<const float*>(x.row(t)) + c, count);
  const BF16* row = reinterpret_cast<const BF16*>(x.row(t)) + c;
  if (count >= 16) return load_bf16(row);
  alignas(32) BF16 staged[16] = {};
  std::copy(row, row + count, staged);
  return load_bf16(staged);
}

HWY_INLINE void store_values(F32x16 v, const FloatRows& x, Index t, Index c, Index count) {
  if (x.dtype == DType::kF32) return store_up_to_16(v, reinterpret_cast<float*>(x.row(t)) + c, count);
  BF16* row = reinterpret_cast<BF16*>(x.row(t)) + c;
  if (count >= 16) return store_bf16(round_to_bf16(v), row);
  alignas(32) BF16 staged[16];
  store_bf16(round_to_bf16(v), staged);
  std::copy(staged, staged + count, row);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
