// The AMX path's dense products of training: dense_amx-inl.h on the processor's own tiles.
#include "kernels/cpu/training_targets.h"
#include "kernels/dense.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dense_amx.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/dense_amx-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

void dense_multiply_amx(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                        DenseStore store_as, const FloatRows& c) {
  dense_on_tiles<HardwareTiles>(type, a, b, ends, store_as, c);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif  // HWY_AVX3
