// What the small JSON files of a Hugging Face directory say about a tokenizer: tokenizer_config.json,
// special_tokens_map.json, added_tokens.json, generation_config.json.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "text/tokenizer.h"

namespace jericho {

using SideFiles = std::function<std::optional<std::string>(std::string_view name)>;  // nothing: no such file

struct HuggingFaceSettings {
  std::optional<std::string> bos{}, eos{}, unk{};  // as text
  std::optional<bool> add_bos{}, add_eos{}, legacy{};
  std::string tokenizer_class{};
  std::vector<AddedToken> added{};  // added_tokens_decoder, else added_tokens.json; ascending ids
  std::vector<Index> end_ids{};     // eos_token_id of generation_config.json, a number or a list
};

// `config` is config.json, or null: its eos_token_id counts when there is no generation_config.json. Its bos_token_id
// does not: Qwen2's names a token that is no BOS.
HuggingFaceSettings read_hugging_face_settings(const SideFiles& files, const nlohmann::json& config);

// Fills bos, eos, unk and the end of generation of `parts`, whose vocabulary is complete.
void apply_special_ids(const HuggingFaceSettings& settings, TokenizerParts& parts);

// Fields of a JSON object. A wrong type is an Error(kInput) that names the key; absent and null give the fallback.
const nlohmann::json* json_field(const nlohmann::json& object, std::string_view key);
std::string json_text(const nlohmann::json& object, std::string_view key, std::string_view fallback);
bool json_flag(const nlohmann::json& object, std::string_view key, bool fallback);
Index json_index(const nlohmann::json& object, std::string_view key);  // must be there
AddedToken json_added_token(const nlohmann::json& object);             // all but the id

}  // namespace jericho
