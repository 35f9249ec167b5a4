// DeepSeek-V2 (arXiv:2405.04434, section 2) and V3 (arXiv:2412.19437, section 2; R1, arXiv:2501.12948, is one): latent
// attention, rotation pairs side by side in every format, YaRN whose sharpening lies in the scale of the logits, and
// from some layer on many small experts beside shared ones. V2 weighs experts by softmax and may choose among the best
// groups only; V3 by sigmoid, with a bias on the choice, and always by groups. Layers for multi-token prediction that
// follow the last one are not read, as transformers does.
#include <array>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"
#include "models/rope.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

// 1 / sqrt(dn + dr), sharpened by the square of what YaRN otherwise multiplies into cosine and sine.
float attention_scale(const LatentConfig& m, double magnitude) {
  return static_cast<float>(magnitude * magnitude / std::sqrt(static_cast<double>(m.nope_dim + m.rope_dim)));
}

// Experts from layer `first` on, in every `every`th layer.
void place_experts(ModelConfig& c, Index first, Index every) {
  if (every < 1) throw Error(ErrorKind::kInput, fmt::format("moe_layer_freq is {}, expected 1 or more", every));
  for (Index i = 0; i < c.num_hidden_layers; ++i) {
    if (i >= first && i % every == 0) c.layers[static_cast<std::size_t>(i)].feed_forward = FeedForward::kExperts;
  }
}

void be_deepseek(ModelConfig& c) {
  c.num_key_value_heads = c.num_attention_heads;  // GGUF counts the latent cache as one
  c.head_dim = c.latent.nope_dim + c.latent.rope_dim;
  WeightNames& names = c.hugging_face_names;
  names.shared_gate = "mlp.shared_experts.gate_proj";
  names.shared_up = "mlp.shared_experts.up_proj";
  names.shared_down = "mlp.shared_experts.down_proj";
}

void read_experts(const Json& config, ModelConfig& c) {
  MoeConfig& moe = c.moe;
  moe.experts = get<Index>(config, "n_routed_experts").value_or(0);
  if (moe.experts == 0) return;
  moe.experts_per_token = require(config, "num_experts_per_tok");
  moe.intermediate_size = require(config, "moe_intermediate_size");
  moe.shared_intermediate_size = moe.intermediate_size * get<Index>(config, "n_shared_experts").value_or(0);
  moe.normalize = get<bool>(config, "norm_topk_prob").value_or(false);
  moe.scale = static_cast<float>(get<double>(config, "routed_scaling_factor").value_or(1));
  const std::string method = get<std::string>(config, "topk_method").value_or("greedy");
  if (method != "greedy" && method != "group_limited_greedy" && method != "noaux_tc")
    not_supported(fmt::format("config.json: topk_method '{}'", method));
  if (method != "greedy") {
    moe.groups = get<Index>(config, "n_group").value_or(1);
    moe.topk_groups = get<Index>(config, "topk_group").value_or(1);
  }
  place_experts(c, get<Index>(config, "first_k_dense_replace").value_or(0),
                get<Index>(config, "moe_layer_freq").value_or(1));
}

ModelConfig v2_from_json(const Json& config) {
  if (get<bool>(config, "attention_bias").value_or(false)) not_supported("config.json: attention_bias in DeepSeek");
  if (!get<bool>(config, "rope_interleave").value_or(true)) not_supported("config.json: rope_interleave false");
  ModelConfig c = decoder_from_json(config);
  c.latent = {.kv_lora_rank = require(config, "kv_lora_rank"),
              .q_lora_rank = get<Index>(config, "q_lora_rank").value_or(0),
              .nope_dim = require(config, "qk_nope_head_dim"),
              .rope_dim = require(config, "qk_rope_head_dim"),
              .value_dim = require(config, "v_head_dim")};
  be_deepseek(c);
  c.rope = rope_from_json(config, c.latent.rope_dim, c.max_position_embeddings);
  double magnitude = 1;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto scaling = config.find(key);
    if (scaling == config.end() || !scaling->is_object() || c.rope.scaling != RopeScaling::kYarn) continue;
    if (const double mscale = get<double>(*scaling, "mscale_all_dim").value_or(0); mscale != 0)
      magnitude = yarn_magnitude(c.rope.factor, mscale);
  }
  c.attention_scale = attention_scale(c.latent, magnitude);
  read_experts(config, c);
  return c;
}

ModelConfig v3_from_json(const Json& json) {
  Json config = json;
  for (const auto& [key, value] : {std::pair<const char*, Json>("topk_method", "noaux_tc"),
                                   {"scoring_func", "sigmoid"},
                                   {"norm_topk_prob", true},
                                   {"routed_scaling_factor", 2.5},
                                   {"n_group", 8},
                                   {"topk_group", 4},
                                   {"first_k_dense_replace", 3}}) {
    if (!config.contains(key)) config[key] = value;
  }
  ModelConfig c = v2_from_json(config);
  if (get<std::string>(config, "scoring_func") == "sigmoid") c.moe.gating = Gating::kSigmoid;
  c.moe.selection_bias = get<std::string>(config, "topk_method") == "noaux_tc";
  if (c.moe.selection_bias) c.moe.group_score = GroupScore::kTopTwoSum;
  return c;
}

void read_experts(const GgufKeys& keys, ModelConfig& c) {
  MoeConfig& moe = c.moe;
  moe.experts = keys.integer("expert_count").value_or(0);
  if (moe.experts == 0) return;
  moe.experts_per_token = keys.require_integer("expert_used_count");
  moe.intermediate_size = keys.require_integer("expert_feed_forward_length");
  moe.shared_intermediate_size = moe.intermediate_size * keys.integer("expert_shared_count").value_or(0);
  moe.normalize = keys.boolean("expert_weights_norm").value_or(false);
  moe.scale = static_cast<float>(keys.number("expert_weights_scale").value_or(1));
  moe.groups = keys.integer("expert_group_count").value_or(1);
  moe.topk_groups = keys.integer("expert_group_used_count").value_or(moe.groups);
  constexpr Index kSoftmax = 1, kSigmoid = 2;
  const Index gating = keys.integer("expert_gating_func").value_or(kSoftmax);
  if (gating != kSoftmax && gating != kSigmoid)
    not_supported(fmt::format("{} {}", keys.key("expert_gating_func"), gating));
  const Index first = keys.integer("leading_dense_block_count").value_or(0);
  place_experts(c, first, 1);
  moe.selection_bias = keys.file().find(fmt::format("blk.{}.exp_probs_b.bias", first)) != nullptr;
  if (gating == kSigmoid) moe.gating = Gating::kSigmoid;
  if (moe.selection_bias) moe.group_score = GroupScore::kTopTwoSum;
}

ModelConfig deepseek_from_gguf(const GgufKeys& keys) {
  for (const char* suffix : {"feed_forward_length", "attention.head_count"}) {
    if (keys.is_array(suffix)) not_supported(keys.key(suffix) + " per layer");
  }
  ModelConfig c = skeleton_from_gguf(keys);
  c.num_hidden_layers = checked_layers(c.num_hidden_layers - keys.integer("nextn_predict_layers").value_or(0));
  c.layers.resize(static_cast<std::size_t>(c.num_hidden_layers));
  c.intermediate_size = keys.require_integer("feed_forward_length");
  c.num_attention_heads = keys.require_integer("attention.head_count");
  // The plain lengths are those of the latent cache where the file has lengths for heads.
  const Index head =
      keys.integer("attention.key_length_mla").value_or(keys.integer("attention.key_length").value_or(0));
  const Index rope_dim = keys.require_integer("rope.dimension_count");
  c.latent = {
      .kv_lora_rank = keys.require_integer("attention.kv_lora_rank"),
      .q_lora_rank = keys.integer("attention.q_lora_rank").value_or(0),
      .nope_dim = head - rope_dim,
      .rope_dim = rope_dim,
      .value_dim =
          keys.integer("attention.value_length_mla").value_or(keys.integer("attention.value_length").value_or(0))};
  be_deepseek(c);
  c.rope = rope_from_gguf(keys, rope_dim, c.max_position_embeddings);
  // 0.1 mscale_all_dim. What YaRN multiplies into cosine and sine is 1: mscale and mscale_all_dim are equal.
  const double log_multiplier = keys.number("rope.scaling.yarn_log_multiplier").value_or(0);
  double magnitude = 1;
  if (c.rope.scaling == RopeScaling::kYarn && log_multiplier != 0) {
    magnitude = yarn_magnitude(c.rope.factor, log_multiplier * 10);
    c.rope.attention_factor = 1;
  }
  c.attention_scale = attention_scale(c.latent, magnitude);
  // Older files hold kv_b as it is.
  if (keys.file().find("blk.0.attn_k_b.weight") == nullptr) c.gguf_names.k_b = c.gguf_names.v_b = "";
  read_experts(keys, c);
  return c;
}

bool is_v3(const ModelConfig& c) { return c.moe.gating == Gating::kSigmoid; }

void deepseek_to_json(const ModelConfig& c, Json& out) {
  const LatentConfig& m = c.latent;
  out["kv_lora_rank"] = m.kv_lora_rank;
  out["q_lora_rank"] = m.q_lora_rank > 0 ? Json(m.q_lora_rank) : Json(nullptr);
  out["qk_nope_head_dim"] = m.nope_dim;
  out["qk_rope_head_dim"] = m.rope_dim;
  out["v_head_dim"] = m.value_dim;
  out.erase("head_dim");
  const double plain = 1 / std::sqrt(static_cast<double>(m.nope_dim + m.rope_dim));
  const double magnitude = std::sqrt(static_cast<double>(c.attention_scale) / plain);
  if (c.rope.scaling == RopeScaling::kYarn && magnitude > 1.0001) {
    // Both are written, so that their ratio is 1; to the digits that a file has.
    const double mscale = std::round((magnitude - 1) / (yarn_magnitude(c.rope.factor) - 1) * 1e4) / 1e4;
    out["rope_scaling"]["mscale"] = out["rope_scaling"]["mscale_all_dim"] = mscale;
    out["rope_scaling"].erase("attention_factor");
  }
  const MoeConfig& moe = c.moe;
  if (moe.experts == 0) return;
  out["n_routed_experts"] = moe.experts;
  out["num_experts_per_tok"] = moe.experts_per_token;
  out["moe_intermediate_size"] = moe.intermediate_size;
  out["n_shared_experts"] = moe.shared_intermediate_size / moe.intermediate_size;
  out["norm_topk_prob"] = moe.normalize;
  out["routed_scaling_factor"] = moe.scale;
  out["scoring_func"] = is_v3(c) ? "sigmoid" : "softmax";
  out["topk_method"] = moe.selection_bias ? "noaux_tc" : moe.groups > 1 ? "group_limited_greedy" : "greedy";
  out["n_group"] = moe.groups;
  out["topk_group"] = moe.topk_groups;
  Index first = 0;
  while (first < c.num_hidden_layers && c.layers[static_cast<std::size_t>(first)].feed_forward == FeedForward::kDense)
    ++first;
  out["first_k_dense_replace"] = first;
  out["moe_layer_freq"] = 1;
}

constexpr std::array<Family, 2> kFamilies = {
    {{"DeepseekV2ForCausalLM", "deepseek2", v2_from_json, deepseek_from_gguf, "deepseek_v2", nullptr, deepseek_to_json},
     {"DeepseekV3ForCausalLM", "deepseek2", v3_from_json, deepseek_from_gguf, "deepseek_v3", is_v3, deepseek_to_json}}};

}  // namespace

std::span<const Family> deepseek_families() { return kFamilies; }

}  // namespace jericho
