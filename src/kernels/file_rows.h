// From the rows of a file to what the model multiplies with, and back to the rows of a file: the kernels of loading and
// conversion, as a table per CPU path beside that of kernels.h. The contracts are in packed_matrix.h and
// quantize_rows.h, whose functions of the same names are the plain twins; every path gives their bytes.
#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/index.h"
#include "tensor/dtype.h"

namespace jericho {

struct FileRowKernels {
  void (*pack_strip)(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows,
                     std::byte* strip) = nullptr;
  void (*dequantize_file_row)(DType dtype, Index cols, const std::byte* file_row, float* out) = nullptr;
  void (*quantize_row)(DType dtype, const float* x, Index cols, std::byte* row) = nullptr;
};

// The table of a path; it must be one of usable_cpu_paths().
const FileRowKernels& file_row_kernels_for(CpuPath path);

}  // namespace jericho
