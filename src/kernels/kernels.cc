// The tables of all paths. A path that has no kernel of its own for an op takes the one of the path below it.
#include "kernels/kernels.h"

#include "base/check.h"
#include "kernels/cpu/tables.h"
#include "kernels/rms_norm.h"

namespace jericho {

const Kernels& kernels_for(CpuPath path) {
  static const Kernels scalar = {CpuPath::kScalar,
                                 ref::rms_norm,
                                 ref::glu,
                                 ref::soft_cap,
                                 ref::quantize_q8,
                                 ref::round_bf16,
                                 kv_store,
                                 ref::matmul,
                                 ref::attention,
                                 ref::attention_logits,
                                 ref::attention_weights,
                                 ref::attention_values,
                                 ref::causal_conv1d,
                                 ref::time_steps,
                                 ref::mamba_scan,
                                 ref::mamba2_scan,
                                 ref::low_rank_add};
  static const Kernels avx2 = kernels::avx2_table(scalar);
  static const Kernels avx512 = kernels::avx512_table(avx2);
  static const Kernels amx = kernels::amx_table(avx512);
  switch (path) {
    case CpuPath::kScalar: return scalar;
    case CpuPath::kAvx2: return avx2;
    case CpuPath::kAvx512: return avx512;
    case CpuPath::kAmx: return amx;
  }
  JERICHO_CHECK(false, "path {}", static_cast<int>(path));
}

}  // namespace jericho
