// The quantization methods of Hugging Face checkpoints, by the "quant_method" of config.json. A method finds the
// tensors that belong together and presents each weight they make (stored_tensors.h). A new method is a file here and a
// line in methods.cc. Start at present_quantized().
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "formats/quantized/settings.h"
#include "formats/quantized/stored_tensors.h"
#include "formats/tensor_info.h"

namespace jericho {

// `tensors` as they are when `config` (a config.json) has no "quantization_config"; otherwise the weights its method
// makes of them stand in place of their parts. Error(kUnsupported) for a method, version or option Jericho does not
// read, Error(kInput) for tensors that are missing, of another type or shape, or contradict the configuration.
std::vector<TensorInfo> present_quantized(const nlohmann::json& config, std::vector<TensorInfo> tensors,
                                          ReadTensor read);

void present_gptq(const QuantizationSettings& settings, StoredTensors& tensors);
void present_awq(const QuantizationSettings& settings, StoredTensors& tensors);
void present_compressed_tensors(const QuantizationSettings& settings, StoredTensors& tensors);
void present_bitsandbytes(const QuantizationSettings& settings, StoredTensors& tensors);
void present_fp8(const QuantizationSettings& settings, StoredTensors& tensors);
void present_bitnet(const QuantizationSettings& settings, StoredTensors& tensors);

}  // namespace jericho
