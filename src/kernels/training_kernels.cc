// The tables: see training_kernels.h.
#include "kernels/training_kernels.h"

#include "kernels/cpu/training_targets.h"

namespace jericho {
namespace {

TrainingKernels scalar_table() {
  TrainingKernels table;
  table.adamw = ref::adamw;
  table.dense_interleave = ref::dense_interleave;
  table.dense_transpose = ref::dense_transpose;
  table.dense_multiply = ref::dense_multiply;
  table.rms_norm_backward = ref::rms_norm_backward;
  table.glu_rows = ref::glu_rows;
  table.glu_backward = ref::glu_backward;
  table.attention_probabilities = ref::attention_probabilities;
  table.attention_gradients = ref::attention_gradients;
  table.cross_entropy = ref::cross_entropy;
  table.scale_rows = ref::scale_rows;
  table.rope_rows = ref::rope_rows;
  table.row_dots = ref::row_dots;
  table.add_column_sums = ref::add_column_sums;
  table.sum_squares = ref::sum_squares;
  table.round_row = ref::round_row;
  table.move_weights = ref::move_weights;
  return table;
}

}  // namespace

const TrainingKernels& training_kernels_for(CpuPath path) {
  static const TrainingKernels scalar = scalar_table();
  static const TrainingKernels avx2 = kernels::avx2_training_table(scalar);
  static const TrainingKernels avx512 = kernels::avx512_training_table(avx2);
  static const TrainingKernels amx = kernels::amx_training_table(avx512);
  switch (path) {
    case CpuPath::kScalar: return scalar;
    case CpuPath::kAvx2: return avx2;
    case CpuPath::kAvx512: return avx512;
    case CpuPath::kAmx: break;
  }
  return amx;
}

}  // namespace jericho
