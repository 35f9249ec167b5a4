// Llama (Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Llama 3: arXiv:2407.21783) and Mistral (Jiang et
// al. 2023, arXiv:2310.06825), whose first version sees a sliding window. GGUF files of both keep the rows of q and k
// in rotation pairs.
#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "models/families.h"

namespace jericho {
namespace {

void adjust_llama(const nlohmann::json&, ModelConfig&) {}

void adjust_mistral(const nlohmann::json& config, ModelConfig& c) {
  const auto window = config.find("sliding_window");
  if (window != config.end() && window->is_number_integer())
    std::fill(c.window.begin(), c.window.end(), window->get<Index>());
}

void adjust_llama_gguf(const ModelFile&, ModelConfig& c) { c.interleaved_qk_rows = true; }

constexpr std::array<Family, 2> kFamilies = {{{"LlamaForCausalLM", "llama", adjust_llama, adjust_llama_gguf},
                                              {"MistralForCausalLM", "", adjust_mistral, adjust_llama_gguf}}};

}  // namespace

std::span<const Family> llama_families() { return kFamilies; }

}  // namespace jericho
