// For tests only: published shapes, as their makers' config.json give them.
#pragma once

#include <nlohmann/json.hpp>

#include "base/index.h"

namespace jericho {

inline nlohmann::json llama_json(Index layers, Index hidden, Index ff, Index heads, Index kv_heads, Index vocab) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", hidden},
          {"intermediate_size", ff},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"num_key_value_heads", kv_heads},
          {"vocab_size", vocab},
          {"max_position_embeddings", 131072}};
}
inline nlohmann::json llama3_8b() { return llama_json(32, 4096, 14336, 32, 8, 128256); }
inline nlohmann::json llama3_70b() { return llama_json(80, 8192, 28672, 64, 8, 128256); }
inline nlohmann::json llama2_7b() { return llama_json(32, 4096, 11008, 32, 32, 32000); }
inline nlohmann::json llama32_1b() {
  nlohmann::json json = llama_json(16, 2048, 8192, 32, 8, 128256);
  json["tie_word_embeddings"] = true;
  return json;
}
inline nlohmann::json qwen25_half_b() {
  nlohmann::json json = llama_json(24, 896, 4864, 14, 2, 151936);
  json["architectures"] = {"Qwen2ForCausalLM"};
  json["tie_word_embeddings"] = true;
  return json;
}
inline nlohmann::json mixtral_8x7b() {
  nlohmann::json json = llama_json(32, 4096, 14336, 32, 8, 32000);
  json["architectures"] = {"MixtralForCausalLM"};
  json["num_local_experts"] = 8;
  json["num_experts_per_tok"] = 2;
  return json;
}

}  // namespace jericho
