// Llama (Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Llama 3: arXiv:2407.21783) and Mistral (Jiang et
// al. 2023, arXiv:2310.06825), whose first version sees a sliding window. GGUF files of both keep the rows of q and k
// in rotation pairs.
#include <algorithm>
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

ModelConfig llama_from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.interleaved_qk_rows = true;
  return c;
}

ModelConfig mistral_from_json(const nlohmann::json& config) {
  ModelConfig c = llama_from_json(config);
  for (LayerConfig& layer : c.layers) layer.window = get<Index>(config, "sliding_window").value_or(0);
  return c;
}

ModelConfig llama_from_gguf(const GgufKeys& keys) {
  if (keys.integer("expert_count").value_or(0) > 0) return mixtral_from_gguf(keys);
  ModelConfig c = decoder_from_gguf(keys);
  c.interleaved_qk_rows = true;
  return c;
}

bool has_window(const ModelConfig& c) {
  return std::any_of(c.layers.begin(), c.layers.end(), [](const LayerConfig& layer) { return layer.window > 0; });
}

constexpr std::array<Family, 2> kFamilies = {
    {{"LlamaForCausalLM", "llama", llama_from_json, llama_from_gguf, "llama"},
     {"MistralForCausalLM", "llama", mistral_from_json, llama_from_gguf, "mistral", has_window}}};

}  // namespace

std::span<const Family> llama_families() { return kFamilies; }

}  // namespace jericho
