// Granite 3 (IBM; the multipliers are those of muP, Yang et al. 2022, arXiv:2203.03466): a Llama whose embedding, residual
// branches, attention logits and logits have scales of their own. GGUF files keep the rows of q and k in rotation pairs.
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

ModelConfig from_gguf(const GgufKeys& keys) {
  if (keys.integer("expert_count").value_or(0) > 0) not_supported("granite with experts");
  ModelConfig c = decoder_from_gguf(keys);
  set_scales(c, keys.number("embedding_scale"), keys.number("residual_scale"),
             keys.number("attention.scale").value_or(1 / std::sqrt(static_cast<double>(c.head_dim))),
             keys.number("logit_scale"));
  return c;
}

void to_json(const ModelConfig& c, nlohmann::json& out) {
  out["embedding_multiplier"] = c.embedding_scale;
  out["residual_multiplier"] = c.residual_scale;
  out["attention_multiplier"] = c.attention_scale;
  out["logits_scaling"] = 1 / c.logit_scale;
}

constexpr std::array<Family, 1> kFamilies = {
    {{"GraniteForCausalLM", "granite", from_json, from_gguf, "granite", nullptr, to_json}}};

}  // namespace

std::span<const Family> granite_families() { return kFamilies; }

}  // namespace jericho
