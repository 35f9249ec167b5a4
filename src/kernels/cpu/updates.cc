// Updates of weights for AVX2 and AVX-512: the bits of their twins in kernels/ref. Compiled once per target.
#include "kernels/cpu/training_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/updates.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
HWY_INLINE F32x16 square_root(F32x16 a) { return hn::Sqrt(a); }
#else
HWY_INLINE F32x16 square_root(F32x16 a) { return {hn::Sqrt(a.lo), hn::Sqrt(a.hi)}; }
#endif

void adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v) {
  const F32x16 beta1 = set(step.beta1), rest1 = set(1.0f - step.beta1);
  const F32x16 beta2 = set(step.beta2), rest2 = set(1.0f - step.beta2);
  const F32x16 keep = set(step.keep), step_size = set(step.step_size);
  const F32x16 correction = set(step.root_correction), epsilon = set(step.epsilon);
  for (Index i = 0; i < count; i += 16) {
    const Index left = count - i;
    const F32x16 g = load_up_to_16(gradient + i, left);
    const F32x16 w = multiply(load_up_to_16(weight + i, left), keep);
    const F32x16 new_m = fma(load_up_to_16(m + i, left), beta1, multiply(rest1, g));
    const F32x16 new_v = fma(load_up_to_16(v + i, left), beta2, multiply(multiply(rest2, g), g));
    const F32x16 root = add(divide(square_root(new_v), correction), epsilon);
    store_up_to_16(subtract(w, divide(multiply(step_size, new_m), root)), weight + i, left);
    store_up_to_16(new_m, m + i, left);
    store_up_to_16(new_v, v + i, left);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
