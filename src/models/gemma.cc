// Gemma (Gemma Team 2024, arXiv:2403.08295), Gemma 2 (arXiv:2408.00118, section 2) and the text of Gemma 3 (Gemma Team
// 2025, arXiv:2503.19786, section 2): embeddings times sqrt(hidden_size), norms by 1 + w, GELU as gate, a tied head.
// From Gemma 2 on, norms also behind attention and feed-forward, and windows on all layers but every second, of Gemma 3
// every sixth. Gemma 2 caps its logits; Gemma 3 normalises q and k per head instead, and turns windowed layers by a
// base of their own.
#include <array>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "base/half.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

// What the configuration classes of transformers assume: published files leave out what equals it.
Json with_defaults(Json config, const Json& defaults) {
  for (const auto& [key, value] : defaults.items()) {
    if (!config.contains(key)) config[key] = value;
  }
  // hidden_act is not Gemma's word, and wrong where a file has it alone.
  if (!get<std::string>(config, "hidden_activation")) config["hidden_activation"] = "gelu_pytorch_tanh";
  return config;
}

const Json& baseline_defaults() {
  static const Json defaults = {
      {"head_dim", 256}, {"max_position_embeddings", 8192}, {"tie_word_embeddings", true}, {"vocab_size", 256000}};
  return defaults;
}

const Json& gemma2_defaults() {
  static const Json defaults = [] {
    Json d = baseline_defaults();
    d.update({{"attn_logit_softcapping", 50.0},
              {"final_logit_softcapping", 30.0},
              {"hidden_size", 2304},
              {"intermediate_size", 9216},
              {"num_attention_heads", 8},
              {"num_hidden_layers", 26},
              {"num_key_value_heads", 4},
              {"query_pre_attn_scalar", 256},
              {"sliding_window", 4096}});
    return d;
  }();
  return defaults;
}

const Json& gemma3_defaults() {
  static const Json defaults = [] {
    Json d = gemma2_defaults();
    d.erase("attn_logit_softcapping");
    d.erase("final_logit_softcapping");
    d.update({{"max_position_embeddings", 131072}, {"rope_theta", 1000000.0}, {"vocab_size", 262208}});
    return d;
  }();
  return defaults;
}

// The factor takes part as a number of the type the model was trained in.
float embedding_scale(Index hidden_size, const std::string& dtype) {
  const float exact = std::sqrt(static_cast<float>(hidden_size));
  if (dtype == "float32") return exact;
  return dtype == "float16" ? to_float(to_f16(exact)) : to_float(to_bf16(exact));
}

// What all three have, in either format.
void be_gemma(ModelConfig& c, const std::string& dtype) {
  c.activation = Activation::kGeluTanh;
  c.embedding_scale = embedding_scale(c.hidden_size, dtype);
  c.norms_without_one = true;
}

float attention_scale(double query_pre_attn_scalar) {
  return 1.0f / std::sqrt(static_cast<float>(query_pre_attn_scalar));
}

void name_four_norms(ModelConfig& c) {
  c.post_norms = true;
  WeightNames& names = c.hugging_face_names;
  names.attention_post_norm = "post_attention_layernorm.weight";
  names.feed_forward_norm = "pre_feedforward_layernorm.weight";
  names.feed_forward_post_norm = "post_feedforward_layernorm.weight";
}

// Layer i sees everything where (i + 1) % period is 0, the others the window.
bool sees_all(std::size_t layer, Index period) { return (static_cast<Index>(layer) + 1) % period == 0; }

Index checked_period(Index period, const std::string& key) {
  if (period < 1) throw Error(ErrorKind::kInput, fmt::format("{} is {}, expected 1 or more", key, period));
  return period;
}

// layer_types, or else a window on all layers but every `period`th.
void read_windows(const Json& config, Index period, ModelConfig& c) {
  const Index window = get<Index>(config, "sliding_window").value_or(0);
  const auto types = config.find("layer_types");
  const bool listed = types != config.end() && types->is_array();
  if (listed && types->size() != c.layers.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("config.json: 'layer_types' has {} entries for {} layers", types->size(), c.layers.size()));
  }
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    bool all = sees_all(i, period);
    if (listed) {
      const Json& type = (*types)[i];
      if (type != "full_attention" && type != "sliding_attention")
        not_supported(fmt::format("config.json: layer type {}", type.dump()));
      all = type == "full_attention";
    }
    c.layers[i].window = all ? 0 : window;
  }
}

ModelConfig gemma_from_json(const Json& json) {
  const Json config = with_defaults(json, baseline_defaults());
  ModelConfig c = decoder_from_json(config);
  be_gemma(c, get<std::string>(config, "torch_dtype").value_or(get<std::string>(config, "dtype").value_or("bfloat16")));
  return c;
}

// Of Gemma 2 and 3, `config` with the defaults of its class.
ModelConfig newer_from_json(const Json& config, Index period) {
  ModelConfig c = gemma_from_json(config);
  name_four_norms(c);
  c.attention_scale =
      attention_scale(get<double>(config, "query_pre_attn_scalar").value_or(static_cast<double>(c.head_dim)));
  c.attention_softcap = static_cast<float>(get<double>(config, "attn_logit_softcapping").value_or(0));
  c.final_softcap = static_cast<float>(get<double>(config, "final_logit_softcapping").value_or(0));
  read_windows(config, period, c);
  return c;
}

ModelConfig gemma2_from_json(const Json& config) {
  return newer_from_json(with_defaults(config, gemma2_defaults()), 2);
}

// Windowed layers turn by it.
void use_local_rope(ModelConfig& c, const RopeConfig& local) {
  c.local_rope = local;
  for (LayerConfig& layer : c.layers) layer.rope = layer.window > 0 ? LayerRope::kLocal : LayerRope::kGlobal;
}

ModelConfig gemma3_from_json(const Json& json) {
  Json config = json;
  if (!config.contains("sliding_window") && config.contains("sliding_window_attention_size"))
    config["sliding_window"] = config["sliding_window_attention_size"];
  config = with_defaults(std::move(config), gemma3_defaults());
  // transformers 5 has the parameters of both ropes in one object.
  Json local = {{"rope_theta", get<double>(config, "rope_local_base_freq").value_or(10000)}};
  if (const auto both = config.find("rope_parameters"); both != config.end() && both->is_object()) {
    if (both->contains("sliding_attention")) local = Json{{"rope_parameters", (*both)["sliding_attention"]}};
    if (both->contains("full_attention")) config["rope_parameters"] = Json((*both)["full_attention"]);
  }
  Index period = 6;
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"})
    period = checked_period(get<Index>(config, key).value_or(period), key);
  ModelConfig c = newer_from_json(config, period);
  c.qk_norm = QkNorm::kHead;
  use_local_rope(c, rope_from_json(local, c.head_dim, c.max_position_embeddings));
  return c;
}

ModelConfig gemma_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  be_gemma(c, "bfloat16");  // as published; the file does not say
  return c;
}

struct GgufAbsent {  // what the keys that a file lacks mean
  Index period;
  // Only the largest model of a generation has a query_pre_attn_scalar other than head_dim. Files do not keep it: the
  // model is known by its number of layers.
  Index layers_of_the_largest;
  double attention_softcap, final_softcap;
};

ModelConfig newer_from_gguf(const GgufKeys& keys, const GgufAbsent& absent) {
  ModelConfig c = gemma_from_gguf(keys);
  name_four_norms(c);
  const bool largest = c.num_hidden_layers == absent.layers_of_the_largest && c.num_attention_heads > 0;
  c.attention_scale =
      attention_scale(static_cast<double>(largest ? c.hidden_size / c.num_attention_heads : c.head_dim));
  c.attention_softcap = static_cast<float>(keys.number("attn_logit_softcapping").value_or(absent.attention_softcap));
  c.final_softcap = static_cast<float>(keys.number("final_logit_softcapping").value_or(absent.final_softcap));
  const std::string key = "attention.sliding_window_pattern";
  Index period = absent.period;
  std::optional<std::vector<Index>> listed;
  if (keys.is_array(key)) {
    listed = keys.file().metadata().integers(keys.key(key));
    if (!listed || listed->size() != c.layers.size()) {
      throw Error(ErrorKind::kInput,
                  fmt::format("{}: expected one entry for each of {} layers", keys.key(key), c.layers.size()));
    }
  } else {
    period = checked_period(keys.integer(key).value_or(period), keys.key(key));
  }
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const bool windowed = listed ? (*listed)[i] != 0 : !sees_all(i, period);
    if (!windowed) c.layers[i].window = 0;
  }
  return c;
}

ModelConfig gemma2_from_gguf(const GgufKeys& keys) { return newer_from_gguf(keys, {2, 46, 50, 30}); }

ModelConfig gemma3_from_gguf(const GgufKeys& keys) {
  ModelConfig c = newer_from_gguf(keys, {6, 62, 0, 0});
  c.qk_norm = QkNorm::kHead;
  RopeConfig local;
  local.theta = keys.number("rope.freq_base_swa").value_or(10000);
  local.dims = c.rope.dims;
  use_local_rope(c, local);
  return c;
}

void gemma_to_json(const ModelConfig&, Json& out) { out["hidden_activation"] = "gelu_pytorch_tanh"; }

Json cap_or_null(float cap) { return cap > 0 ? Json(cap) : Json(nullptr); }

void newer_to_json(const ModelConfig& c, Json& out) {
  gemma_to_json(c, out);
  out["query_pre_attn_scalar"] = static_cast<Index>(std::lround(1 / (c.attention_scale * c.attention_scale)));
  out["attn_logit_softcapping"] = cap_or_null(c.attention_softcap);
  out["final_logit_softcapping"] = cap_or_null(c.final_softcap);
  out["layer_types"] = Json::array();
  for (const LayerConfig& layer : c.layers) {
    if (layer.window > 0) out["sliding_window"] = layer.window;
    out["layer_types"].push_back(layer.window > 0 ? "sliding_attention" : "full_attention");
  }
}

void gemma3_to_json(const ModelConfig& c, Json& out) {
  newer_to_json(c, out);
  if (c.local_rope) out["rope_local_base_freq"] = c.local_rope->theta;
}

constexpr std::array<Family, 4> kFamilies = {
    {{"GemmaForCausalLM", "gemma", gemma_from_json, gemma_from_gguf, "gemma", nullptr, gemma_to_json},
     {"Gemma2ForCausalLM", "gemma2", gemma2_from_json, gemma2_from_gguf, "gemma2", nullptr, newer_to_json},
     {"Gemma3ForCausalLM", "gemma3", gemma3_from_json, gemma3_from_gguf, "gemma3_text", nullptr, gemma3_to_json},
     {"Gemma3ForConditionalGeneration", "gemma3", gemma3_from_json, gemma3_from_gguf, "gemma3"}}};

}  // namespace

std::span<const Family> gemma_families() { return kFamilies; }

}  // namespace jericho
