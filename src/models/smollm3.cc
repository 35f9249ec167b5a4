// SmolLM3 (Hugging Face 2025; NoPE layers: Yang et al. 2025, arXiv:2501.18795): a Llama in which every fourth layer
// does not rotate its queries and keys. GGUF files keep the rows of q and k in rotation pairs, of all layers alike.
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"

namespace jericho {
namespace {

constexpr Index kInterval = 4;  // of transformers, and the only one that GGUF knows

void rotate_all_but_every(Index interval, ModelConfig& c) {
  for (Index layer = 0; layer < c.num_hidden_layers; ++layer) {
    if ((layer + 1) % interval == 0) c.layers[static_cast<std::size_t>(layer)].rope = LayerRope::kNone;
  }
}

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  c.interleaved_qk_rows = true;
  if (get<bool>(config, "use_sliding_window").value_or(false)) not_supported("SmolLM3 with use_sliding_window");
  const auto list = config.find("no_rope_layers");
  if (list == config.end() || list->is_null()) {
    const Index interval = get<Index>(config, "no_rope_layer_interval").value_or(kInterval);
    if (interval < 1)
      throw Error(ErrorKind::kInput,
                  fmt::format("config.json: no_rope_layer_interval is {}, expected 1 or more", interval));
    rotate_all_but_every(interval, c);
    return c;
  }
  if (!list->is_array() || static_cast<Index>(list->size()) != c.num_hidden_layers) wrong_type("no_rope_layers", *list);
  for (std::size_t layer = 0; layer < list->size(); ++layer) {  // 1: rotates, whatever the name says
    if (!(*list)[layer].is_number_integer()) wrong_type("no_rope_layers", *list);
    if ((*list)[layer].get<Index>() == 0) c.layers[layer].rope = LayerRope::kNone;
  }
  return c;
}

ModelConfig from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  c.interleaved_qk_rows = true;
  rotate_all_but_every(kInterval, c);
  return c;
}

void to_json(const ModelConfig& c, nlohmann::json& out) {
  out["no_rope_layers"] = nlohmann::json::array();
  for (const LayerConfig& layer : c.layers) out["no_rope_layers"].push_back(layer.rope == LayerRope::kNone ? 0 : 1);
}

constexpr std::array<Family, 1> kFamilies = {
    {{"SmolLM3ForCausalLM", "smollm3", from_json, from_gguf, "smollm3", nullptr, to_json}}};

}  // namespace

std::span<const Family> smollm3_families() { return kFamilies; }

}  // namespace jericho
