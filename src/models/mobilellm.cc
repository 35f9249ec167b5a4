// MobileLLM (Liu et al. 2024, arXiv:2402.14905): a small, deep Llama. share_embedding makes the embedding the head,
// whatever tie_word_embeddings says; layer_sharing (the LS models) runs every stored layer twice in succession, each
// time with keys and values of its own (section 2.3, immediate block-wise repetition).
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  if (get<bool>(config, "share_embedding").value_or(false)) c.tie_word_embeddings = true;
  if (get<bool>(config, "layer_sharing").value_or(false)) c.layer_passes = 2;
  return c;
}

constexpr std::array<Family, 1> kFamilies = {{{"MobileLLMForCausalLM", "", from_json, nullptr, "mobilellm"}}};

}  // namespace

std::span<const Family> mobilellm_families() { return kFamilies; }

}  // namespace jericho
