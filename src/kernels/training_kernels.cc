// The tables: see training_kernels.h.
#include "kernels/training_kernels.h"

#include "kernels/cpu/training_targets.h"

namespace jericho {
namespace {

TrainingKernels scalar_table() {
  TrainingKernels table;
  table.adamw = ref::adamw;
  return table;
}

}  // namespace

const TrainingKernels& training_kernels_for(CpuPath path) {
  static const TrainingKernels scalar = scalar_table();
  static const TrainingKernels avx2 = kernels::avx2_training_table(scalar);
  static const TrainingKernels avx512 = kernels::avx512_training_table(avx2);
  switch (path) {
    case CpuPath::kScalar: return scalar;
    case CpuPath::kAvx2: return avx2;
    default: return avx512;
  }
}

}  // namespace jericho
