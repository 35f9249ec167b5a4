// BitNet b1.58 2B4T (Ma et al. 2025, arXiv:2504.12285): ternary weights, RMSNorm on the input of o_proj and of
// down_proj, a gate of squared ReLU. Packed weights and masters in float become ternary where
// files are read (formats/quantized/bitnet.cc). In GGUF the older
// 3B models are "bitnet" and gate with SiLU; this one is "bitnet-b1.58" or "bitnet-25". Half-split rotation.
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.sub_norms = true;
  return c;
}

ModelConfig older_from_gguf(const GgufKeys& keys) {
  if (keys.file().find("blk.0.attn_q.scale") != nullptr) not_supported("bitnet with a tensor of scales per weight");
  ModelConfig c = decoder_from_gguf(keys);
  c.sub_norms = true;
  return c;
}

ModelConfig from_gguf(const GgufKeys& keys) {
  ModelConfig c = older_from_gguf(keys);
  c.activation = Activation::kRelu2;
  return c;
}

constexpr std::array<Family, 3> kFamilies = {{{"BitNetForCausalLM", "bitnet-b1.58", from_json, from_gguf, "bitnet"},
                                              {"", "bitnet-25", from_json, from_gguf},
                                              {"", "bitnet", from_json, older_from_gguf}}};

}  // namespace

std::span<const Family> bitnet_families() { return kFamilies; }

}  // namespace jericho
