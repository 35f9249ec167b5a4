// The table of methods, and the place in config.json that chooses one.
#include "formats/quantized/methods.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

struct QuantizationMethod {
  std::string_view name;  // "quant_method"
  void (*present)(const QuantizationSettings&, StoredTensors&);
};

constexpr std::array kMethods = {
    QuantizationMethod{"gptq", present_gptq},
    QuantizationMethod{"awq", present_awq},
    QuantizationMethod{"compressed-tensors", present_compressed_tensors},
    QuantizationMethod{"bitsandbytes", present_bitsandbytes},
    QuantizationMethod{"fp8", present_fp8},
    QuantizationMethod{"fbgemm_fp8", present_fp8},
    QuantizationMethod{"bitnet", present_bitnet},
};

// Where configurations keep it: at the top, or in the text part of a model of several; compressed-tensors' older name.
const nlohmann::json* quantization_object(const nlohmann::json& config) {
  const auto member = [](const nlohmann::json& object, const char* key) -> const nlohmann::json* {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  };
  if (!config.is_object()) return nullptr;
  const nlohmann::json* text = member(config, "text_config");
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const nlohmann::json* found = member(config, key)) return found;
    if (text == nullptr || !text->is_object()) continue;
    if (const nlohmann::json* found = member(*text, key)) return found;
  }
  return nullptr;
}

}  // namespace

std::vector<TensorInfo> present_quantized(const nlohmann::json& config, std::vector<TensorInfo> tensors,
                                          ReadTensor read) {
  const nlohmann::json* object = quantization_object(config);
  if (object == nullptr) return tensors;
  const QuantizationSettings settings(*object, "quantization_config");
  const std::string name = settings.text("quant_method").value_or("");
  const auto method =
      std::find_if(kMethods.begin(), kMethods.end(), [&](const QuantizationMethod& m) { return m.name == name; });
  if (method == kMethods.end()) {
    std::vector<std::string_view> known;
    for (const QuantizationMethod& m : kMethods) known.push_back(m.name);
    throw Error(ErrorKind::kUnsupported,
                fmt::format("quantization_config: 'quant_method' {} is not supported yet; supported: {}; or use the "
                            "float checkpoint or a GGUF",
                            printable(name), fmt::join(known, ", ")));
  }
  StoredTensors stored(std::move(tensors), std::move(read));
  method->present(settings, stored);
  return std::move(stored).take();
}

}  // namespace jericho
