// Which target's kernels each path takes: see file_rows.h.
#include "kernels/file_rows.h"

#include "base/check.h"
#include "kernels/cpu/file_rows_targets.h"
#include "kernels/packed_matrix.h"
#include "kernels/quantize_rows.h"

namespace jericho {

const FileRowKernels& file_row_kernels_for(CpuPath path) {
  static constexpr FileRowKernels kScalar = {pack_strip, dequantize_file_row, quantize_row};
  static constexpr FileRowKernels kAvx2 = {kernels::N_AVX2::pack_strip, kernels::N_AVX2::dequantize_file_row,
                                           kernels::N_AVX2::quantize_row};
  static constexpr FileRowKernels kAvx512 = {kernels::N_AVX3::pack_strip, kernels::N_AVX3::dequantize_file_row,
                                             kernels::N_AVX3::quantize_row};
  switch (path) {
    case CpuPath::kScalar: return kScalar;
    case CpuPath::kAvx2: return kAvx2;
    case CpuPath::kAvx512:
    case CpuPath::kAmx: return kAvx512;
  }
  JERICHO_CHECK(false, "path {}", static_cast<int>(path));
}

}  // namespace jericho
