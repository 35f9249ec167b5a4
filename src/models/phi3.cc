// Phi-3 and 3.5 (Abdin et al. 2024, arXiv:2404.14219): q, k and v are the rows of one tensor, gate and up of another,
// in both formats. Long-context models scale their frequencies by LongRoPE (rope.h), with one list of divisors for
// sequences within the original context and one for longer ones, and part of each head may stay unrotated. Half-split
// rotation.
#include <array>

#include "models/families.h"

namespace jericho {
namespace {

void fuse(ModelConfig& c) {
  c.hugging_face_names.qkv = "self_attn.qkv_proj";
  c.hugging_face_names.gate_up = "mlp.gate_up_proj";
  c.gguf_names.qkv = "attn_qkv";
  c.gguf_names.gate_up = "ffn_up";
}

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  fuse(c);
  for (LayerConfig& layer : c.layers) layer.window = get<Index>(config, "sliding_window").value_or(0);
  return c;
}

ModelConfig from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  fuse(c);
  if (keys.file().find(c.gguf_names.rope_long_divisors) == nullptr) return c;
  c.rope.scaling = RopeScaling::kLongRope;
  c.rope.factors_in_file = true;
  c.rope.factor =
      static_cast<double>(c.max_position_embeddings) / static_cast<double>(c.rope.original_max_position_embeddings);
  return c;
}

constexpr std::array<Family, 1> kFamilies = {{{"Phi3ForCausalLM", "phi3", from_json, from_gguf, "phi3"}}};

}  // namespace

std::span<const Family> phi3_families() { return kFamilies; }

}  // namespace jericho
