// Stored rows to fp32: see stored_rows.h.
#include "ops/stored_rows.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace jericho {

Bytes stored_row_bytes(DType dtype, Index cols) {
  return storage_bytes(dtype, round_up(cols, info(dtype).block_elements));
}

MatrixView<const float> StoredRows::floats() const {
  JERICHO_CHECK(dtype == DType::kF32, "weights in {}", name(dtype));
  return {reinterpret_cast<const float*>(data), rows, cols, row_stride.count / 4};
}

void decode_columns(const FileRowKernels& kernels, const StoredRows& w, Index row, Index first, Index count,
                    float* out) {
  if (w.decoder != nullptr) return w.decoder->decode(row, first, count, out);
  const Index block = info(w.dtype).block_elements, whole = count / block * block;
  const std::byte* at = w.row(row) + storage_bytes(w.dtype, first).count;
  kernels.dequantize_file_row(w.dtype, whole, at, out);
  if (whole == count) return;
  std::array<float, 256> last;  // the longest block
  kernels.dequantize_file_row(w.dtype, block, at + storage_bytes(w.dtype, whole).count, last.data());
  std::copy_n(last.data(), count - whole, out + whole);
}

}  // namespace jericho
