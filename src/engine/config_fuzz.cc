// Any bytes as a config.json, up to the list of weights it implies. An Error is the right answer to most; anything else
// is a bug.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "models/families.h"
#include "models/rope.h"
#include "models/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace jericho;
  try {
    const ModelConfig config = config_from_json(parse_json({reinterpret_cast<const char*>(data), size}, "config.json"));
    static_cast<void>(RopeTable(config.rope));
    if (config.num_hidden_layers <= 64) static_cast<void>(WeightLayout::of_shape(config, DType::kQ4_0));
  } catch (const Error&) {
    return 0;
  }
  return 0;
}
