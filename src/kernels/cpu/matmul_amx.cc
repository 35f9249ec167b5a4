// The AMX path's matrix products: matmul_amx-inl.h on the processor's own tiles.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_amx.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/matmul_amx-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

void matmul_amx(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                MatrixView<float> y) {
  matmul_on_tiles<HardwareTiles>(w, x, bias, strip_begin, strip_end, y);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif  // HWY_AVX3
