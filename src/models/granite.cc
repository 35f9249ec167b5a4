// Granite 3 (IBM; the multipliers are those of muP, Yang et al. 2022, arXiv:2203.03466): a Llama whose embedding,
// residual branches, attention logits and logits have scales of their own. With experts ("granitemoe") every
// feed-forward is one of experts whose weights are a softmax over the chosen; all of a layer's gates and ups are one
// tensor in Hugging Face files. GGUF files keep the rows of q and k in rotation pairs.
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"

namespace jericho {
namespace {

// Granite divides its logits.
void set_scales(ModelConfig& c, std::optional<double> embedding, std::optional<double> residual,
                std::optional<double> attention, std::optional<double> divisor) {
  if (divisor && !(std::isfinite(*divisor) && *divisor != 0)) {
    throw Error(ErrorKind::kInput,
                fmt::format("granite: logits are divided by {}, expected a finite number other than 0", *divisor));
  }
  c.interleaved_qk_rows = true;
  c.embedding_scale = static_cast<float>(embedding.value_or(1));
  c.residual_scale = static_cast<float>(residual.value_or(1));
  c.attention_scale = static_cast<float>(attention.value_or(1));
  c.logit_scale = static_cast<float>(1 / divisor.value_or(1));
}

ModelConfig from_json(const nlohmann::json& config) {
  ModelConfig c = decoder_from_json(config);
  set_scales(c, get<double>(config, "embedding_multiplier"), get<double>(config, "residual_multiplier"),
             get<double>(config, "attention_multiplier"), get<double>(config, "logits_scaling"));
  return c;
}

ModelConfig scaled_from_gguf(const GgufKeys& keys) {
  ModelConfig c = decoder_from_gguf(keys);
  set_scales(c, keys.number("embedding_scale"), keys.number("residual_scale"),
             keys.number("attention.scale").value_or(1 / std::sqrt(static_cast<double>(c.head_dim))),
             keys.number("logit_scale"));
  return c;
}

ModelConfig from_gguf(const GgufKeys& keys) {
  if (keys.integer("expert_count").value_or(0) > 0) not_supported("granite with experts");
  return scaled_from_gguf(keys);
}

void to_json(const ModelConfig& c, nlohmann::json& out) {
  out["embedding_multiplier"] = c.embedding_scale;
  out["residual_multiplier"] = c.residual_scale;
  out["attention_multiplier"] = c.attention_scale;
  out["logits_scaling"] = 1 / c.logit_scale;
}

void add_experts(ModelConfig& c, Index experts, Index experts_per_token, Index size) {
  c.moe.experts = experts;
  c.moe.experts_per_token = experts_per_token;
  c.moe.normalize = true;  // of a softmax over all, which is the softmax over the chosen
  c.moe.intermediate_size = size;
  for (LayerConfig& layer : c.layers) layer.feed_forward = FeedForward::kExperts;
  WeightNames& names = c.hugging_face_names;
  names.router = "block_sparse_moe.router.layer.weight";
  names.expert_gate = names.expert_up = names.expert_down = "";
  names.stacked_gate_up = "block_sparse_moe.input_linear.weight";
  names.stacked_down = "block_sparse_moe.output_linear.weight";
}

ModelConfig moe_from_json(const nlohmann::json& config) {
  ModelConfig c = from_json(config);
  add_experts(c, get<Index>(config, "num_local_experts").value_or(8),
              get<Index>(config, "num_experts_per_tok").value_or(2), c.intermediate_size);
  return c;
}

ModelConfig moe_from_gguf(const GgufKeys& keys) {
  if (keys.integer("expert_shared_feed_forward_length").value_or(0) > 0)
    not_supported("granitemoe with a shared expert");
  ModelConfig c = scaled_from_gguf(keys);
  add_experts(c, keys.require_integer("expert_count"), keys.require_integer("expert_used_count"),
              keys.integer("expert_feed_forward_length").value_or(c.intermediate_size));
  return c;
}

void moe_to_json(const ModelConfig& c, nlohmann::json& out) {
  to_json(c, out);
  out["num_local_experts"] = c.moe.experts;
  out["num_experts_per_tok"] = c.moe.experts_per_token;
}

constexpr std::array<Family, 2> kFamilies = {
    {{"GraniteForCausalLM", "granite", from_json, from_gguf, "granite", nullptr, to_json},
     {"GraniteMoeForCausalLM", "granitemoe", moe_from_json, moe_from_gguf, "granitemoe", nullptr, moe_to_json}}};

}  // namespace

std::span<const Family> granite_families() { return kFamilies; }

}  // namespace jericho
