// FP8 checkpoints as transformers ("fp8", DeepSeek-V3's form) and FBGEMM ("fbgemm_fp8") store them. Per module P:
//   P.weight            F8_E4M3 [O, C]
//   P.weight_scale_inv  F32 [ceil(O / 128), ceil(C / 128)], blocks as "weight_block_size" says, or
//   P.weight_scale      one scale, or one per row
// W = code * scale, whatever the tensor is called. Static scales of activations are not used.
#include "formats/quantized/float8_rows.h"
#include "formats/quantized/methods.h"

namespace jericho {

void present_fp8(const QuantizationSettings& settings, StoredTensors& tensors) {
  if (settings.text("fmt").value_or("e4m3") != "e4m3") settings.unsupported("fmt", "supported: e4m3");
  const std::vector<Index> block = settings.integers("weight_block_size");
  for (const std::string& module : tensors.modules_with(".weight")) {
    if (tensors.find(module + ".weight")->dtype != DType::kF8_E4M3) continue;  // left in float
    const bool inverse = tensors.find(module + ".weight_scale_inv") != nullptr;
    present_float8("FP8 E4M3", module, module + (inverse ? ".weight_scale_inv" : ".weight_scale"), block, tensors);
  }
}

}  // namespace jericho
