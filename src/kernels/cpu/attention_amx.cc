// The AMX path's attention: attention_amx-inl.h on the processor's own tiles.
#include <algorithm>

#include "kernels/attention.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_amx.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/attention_amx-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

void attention_amx(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
                   MatrixView<float> out) {
  attention_on_tiles<HardwareTiles>(kv, tokens, logits, q, out);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif  // HWY_AVX3
