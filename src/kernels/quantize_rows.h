// Rounding to every element type that weights may have, but for those whose codes are places in a codebook (IQ4_NL,
// IQ4_XS) and those that keep what Hugging Face checkpoints hold (TQ2F, QZ4, QZ4B, QZ8, QZ4_128, QZ4B_128, QC8, NF4,
// FP8): the blocks of dequantize_file_row(), made from floats. Q1_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4, TQ1_0 and
// TQ2_0 give the bytes of ggml's reference quantizers. For the K-quants such a thing does not exist, encoders differ in
// how they search; ours fits each sub-block's scale (and minimum) by weighted least squares over a range of roundings,
// then rounds the scales and takes the codes that are nearest. TQ1_0 and TQ2_0 round to -d, 0 and d of the largest
// magnitude: for weights that are ternary already.
#pragma once

#include <cstddef>

#include "base/index.h"
#include "tensor/dtype.h"

namespace jericho {

bool is_quantizable(DType dtype);

// x[cols] -> one file row at `row`: storage_bytes(dtype, cols) bytes. Values should be finite; what a block with others
// becomes is not defined beyond being a block. Does not allocate, throw or start threads.
void quantize_row(DType dtype, const float* x, Index cols, std::byte* row);

}  // namespace jericho
