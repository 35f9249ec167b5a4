// The kernels of file_rows.h that are compiled once per Highway target; see targets.h.
#pragma once

#include "kernels/file_rows.h"

namespace jericho::kernels {

#define JERICHO_TARGET_KERNELS(target)                                                                                 \
  namespace target {                                                                                                   \
  void pack_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip); \
  void dequantize_file_row(DType dtype, Index cols, const std::byte* file_row, float* out);                            \
  void quantize_row(DType dtype, const float* x, Index cols, std::byte* row);                                          \
  }
JERICHO_TARGET_KERNELS(N_AVX2)
JERICHO_TARGET_KERNELS(N_AVX3)
#undef JERICHO_TARGET_KERNELS

}  // namespace jericho::kernels
