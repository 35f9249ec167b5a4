// Which target's training kernel each path takes.
#include "kernels/cpu/training_targets.h"

namespace jericho::kernels {

TrainingKernels avx2_training_table(const TrainingKernels& below) {
  TrainingKernels table = below;
  table.adamw = N_AVX2::adamw;
  return table;
}

TrainingKernels avx512_training_table(const TrainingKernels& below) {
  TrainingKernels table = below;
  table.adamw = N_AVX3::adamw;
  return table;
}

}  // namespace jericho::kernels
