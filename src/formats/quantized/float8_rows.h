// Weights in E4M3 with a scale per block of rows and columns, on their way into FP8 blocks: value = code * scale. Per
// tensor, per row and 128 by 128 are the same thing with blocks of another size.
#pragma once

#include <string>
#include <vector>

#include "formats/quantized/stored_tensors.h"

namespace jericho {

// Presents `module`.weight: codes F8_E4M3 [O, C] there, scales (F32, BF16 or F16) in the tensor `scale`, of shape [] or
// [1] (one for all), [O] or [O, 1] (one per row), or [ceil(O / rows), ceil(C / cols)] for `block` = {rows, cols}.
// `method` names the method for people. Error(kInput) for other shapes, kUnsupported for blocks that cut FP8's 64
// values.
void present_float8(const std::string& method, const std::string& module, const std::string& scale,
                    const std::vector<Index>& block, StoredTensors& tensors);

}  // namespace jericho
