// The kernels that only training uses, of one CPU path, as a table beside kernels.h: backward passes, losses, dense products
// whose operands change every step, updates of weights. Contracts are in the headers of the ops. What a path lacks it takes
// from the one below.
#pragma once

#include "base/cpu.h"
#include "kernels/adamw.h"

namespace jericho {

struct TrainingKernels {
  void (*adamw)(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v) = nullptr;
};

// The table of a path; it must be one of usable_cpu_paths().
const TrainingKernels& training_kernels_for(CpuPath path);

}  // namespace jericho
