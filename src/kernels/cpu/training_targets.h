// The training kernels that are compiled once per Highway target (targets.h says what each needs), and the tables that take
// them.
#pragma once

#include "kernels/training_kernels.h"

namespace jericho::kernels {

#define JERICHO_TARGET_KERNELS(target)                                                                      \
  namespace target {                                                                                        \
  void adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v); \
  }
JERICHO_TARGET_KERNELS(N_AVX2)
JERICHO_TARGET_KERNELS(N_AVX3)
#undef JERICHO_TARGET_KERNELS

TrainingKernels avx2_training_table(const TrainingKernels& below);
TrainingKernels avx512_training_table(const TrainingKernels& below);

}  // namespace jericho::kernels
