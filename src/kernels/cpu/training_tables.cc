// Which target's training kernel each path takes.
#include "kernels/cpu/training_targets.h"
#include "kernels/peak_loops.h"

namespace jericho::kernels {

TrainingKernels avx2_training_table(const TrainingKernels& below) {
  TrainingKernels table = below;
  table.adamw = N_AVX2::adamw;
  table.dense_interleave = N_AVX2::dense_interleave;
  table.dense_transpose = N_AVX2::dense_transpose;
  table.dense_multiply = N_AVX2::dense_multiply;
  table.rms_norm_backward = N_AVX2::rms_norm_backward;
  table.glu_rows = N_AVX2::glu_rows;
  table.glu_backward = N_AVX2::glu_backward;
  table.attention_probabilities = N_AVX2::attention_probabilities;
  table.attention_gradients = N_AVX2::attention_gradients;
  table.cross_entropy = N_AVX2::cross_entropy;
  table.scale_rows = N_AVX2::scale_rows;
  table.rope_rows = N_AVX2::rope_rows;
  table.row_dots = N_AVX2::row_dots;
  table.add_column_sums = N_AVX2::add_column_sums;
  table.sum_squares = N_AVX2::sum_squares;
  table.round_row = N_AVX2::round_row;
  table.move_weights = N_AVX2::move_weights;
  return table;
}

TrainingKernels avx512_training_table(const TrainingKernels& below) {
  TrainingKernels table = below;
  table.adamw = N_AVX3::adamw;
  table.dense_interleave = N_AVX3::dense_interleave;
  table.dense_transpose = N_AVX3::dense_transpose;
  table.dense_multiply = N_AVX3::dense_multiply;
  table.rms_norm_backward = N_AVX3::rms_norm_backward;
  table.glu_rows = N_AVX3::glu_rows;
  table.glu_backward = N_AVX3::glu_backward;
  table.attention_probabilities = N_AVX3::attention_probabilities;
  table.attention_gradients = N_AVX3::attention_gradients;
  table.cross_entropy = N_AVX3::cross_entropy;
  table.scale_rows = N_AVX3::scale_rows;
  table.rope_rows = N_AVX3::rope_rows;
  table.row_dots = N_AVX3::row_dots;
  table.add_column_sums = N_AVX3::add_column_sums;
  table.sum_squares = N_AVX3::sum_squares;
  table.round_row = N_AVX3::round_row;
  table.move_weights = N_AVX3::move_weights;
  if (has_units(PeakKind::kBF16Pairs, CpuPath::kAvx512)) table.dense_multiply = N_AVX3::dense_multiply_bf16;
  return table;
}

TrainingKernels amx_training_table(const TrainingKernels& below) {
  TrainingKernels table = below;
  table.dense_multiply = N_AVX3::dense_multiply_amx;
  table.dense_order = DenseOrder::kTiles;
  return table;
}

}  // namespace jericho::kernels
