// The small JSON files beside a tokenizer. Start at read_hugging_face_settings().
#include "text/hf_settings.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "text/special_ids.h"

namespace jericho {
namespace {

constexpr Bytes kMaxSettings = 16_MiB;
constexpr Index kMaxId = Index{1} << 30;

[[noreturn]] void wrong_type(std::string_view key, std::string_view expected, const nlohmann::json& found) {
  throw Error(ErrorKind::kInput, fmt::format("\"{}\" should be {}, not {}", key, expected, found.type_name()));
}

// A special token is its text, or an object with a content.
std::optional<std::string> special_text(const nlohmann::json& object, std::string_view key) {
  const nlohmann::json* value = json_field(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return json_text(*value, "content", "");
  return json_text(object, key, "");
}

std::optional<bool> optional_flag(const nlohmann::json& object, std::string_view key) {
  if (json_field(object, key) == nullptr) return std::nullopt;
  return json_flag(object, key, false);
}

Index parse_id(const std::string& text) {
  Index id = 0;
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) {
    throw Error(ErrorKind::kInput, fmt::format("\"added_tokens_decoder\": '{}' is no token id", text));
  }
  for (const char c : text) id = id * 10 + (c - '0');
  return id;
}

std::vector<Index> end_ids(const nlohmann::json& object) {
  const nlohmann::json* value = json_field(object, "eos_token_id");
  if (value == nullptr) return {};
  if (value->is_number_integer()) return {json_index(object, "eos_token_id")};
  if (!value->is_array()) wrong_type("eos_token_id", "a number or a list", *value);
  std::vector<Index> ids;
  for (const auto& id : *value) {
    if (!id.is_number_integer()) wrong_type("eos_token_id", "a list of numbers", id);
    ids.push_back(id.get<Index>());
  }
  return ids;
}

// Returns false when the file is absent.
template <class Read>
bool read_file(const SideFiles& files, std::string_view name, const Read& read) {
  const auto text = files(name);
  if (!text) return false;
  with_context([&] { return std::string(name); },
               [&] {
                 const nlohmann::json object = parse_json(*text, name, kMaxSettings);
                 if (!object.is_object()) throw Error(ErrorKind::kInput, "not a JSON object");
                 read(object);
               });
  return true;
}

void read_names(const nlohmann::json& object, HuggingFaceSettings& settings) {
  if (!settings.bos) settings.bos = special_text(object, "bos_token");
  if (!settings.eos) settings.eos = special_text(object, "eos_token");
  if (!settings.unk) settings.unk = special_text(object, "unk_token");
}

void read_tokenizer_config(const nlohmann::json& object, HuggingFaceSettings& settings) {
  read_names(object, settings);
  settings.add_bos = optional_flag(object, "add_bos_token");
  settings.add_eos = optional_flag(object, "add_eos_token");
  settings.legacy = optional_flag(object, "legacy");
  settings.tokenizer_class = json_text(object, "tokenizer_class", "");
  const nlohmann::json* added = json_field(object, "added_tokens_decoder");
  if (added == nullptr) return;
  if (!added->is_object()) wrong_type("added_tokens_decoder", "an object", *added);
  for (const auto& [id, entry] : added->items()) {
    AddedToken token = json_added_token(entry);
    token.id = static_cast<TokenId>(parse_id(id));
    settings.added.push_back(std::move(token));
  }
}

void read_added_tokens(const nlohmann::json& object, HuggingFaceSettings& settings) {
  for (const auto& [text, id] : object.items()) {
    settings.added.push_back({.id = static_cast<TokenId>(json_index(object, text)), .text = text, .control = true});
  }
}

}  // namespace

const nlohmann::json* json_field(const nlohmann::json& object, std::string_view key) {
  if (!object.is_object()) throw Error(ErrorKind::kInput, fmt::format("expected an object with \"{}\"", key));
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string json_text(const nlohmann::json& object, std::string_view key, std::string_view fallback) {
  const nlohmann::json* value = json_field(object, key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) wrong_type(key, "text", *value);
  return value->get<std::string>();
}

bool json_flag(const nlohmann::json& object, std::string_view key, bool fallback) {
  const nlohmann::json* value = json_field(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong_type(key, "true or false", *value);
  return value->get<bool>();
}

Index json_index(const nlohmann::json& object, std::string_view key) {
  const nlohmann::json* value = json_field(object, key);
  if (value == nullptr) throw Error(ErrorKind::kInput, fmt::format("\"{}\" is missing", key));
  if (!value->is_number_integer()) wrong_type(key, "a number", *value);
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxId)) {
    throw Error(ErrorKind::kInput, fmt::format("\"{}\" is {}, which is no token id", key, value->get<std::uint64_t>()));
  }
  const Index id = value->get<Index>();
  if (id < 0) throw Error(ErrorKind::kInput, fmt::format("\"{}\" is {}, which is no token id", key, id));
  return id;
}

AddedToken json_added_token(const nlohmann::json& object) {
  return {.id = -1,
          .text = json_text(object, "content", ""),
          .control = json_flag(object, "special", false),
          .lstrip = json_flag(object, "lstrip", false),
          .rstrip = json_flag(object, "rstrip", false),
          .single_word = json_flag(object, "single_word", false),
          .normalized = json_flag(object, "normalized", false)};
}

HuggingFaceSettings read_hugging_face_settings(const SideFiles& files, const nlohmann::json& config) {
  HuggingFaceSettings settings;
  read_file(files, "tokenizer_config.json", [&](const nlohmann::json& o) { read_tokenizer_config(o, settings); });
  read_file(files, "special_tokens_map.json", [&](const nlohmann::json& o) { read_names(o, settings); });
  if (settings.added.empty()) {
    read_file(files, "added_tokens.json", [&](const nlohmann::json& o) { read_added_tokens(o, settings); });
  }
  std::sort(settings.added.begin(), settings.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  const auto read_ends = [&](const nlohmann::json& o) { settings.end_ids = end_ids(o); };
  if (!read_file(files, "generation_config.json", read_ends) && config.is_object()) read_ends(config);
  return settings;
}

void apply_special_ids(const HuggingFaceSettings& settings, TokenizerParts& parts) {
  const Vocabulary& vocabulary = parts.vocabulary;
  const auto id_of = [&](const std::optional<std::string>& text, std::optional<TokenId> known) {
    if (!text) return known;
    if (const auto id = vocabulary.find(*text)) return id;
    return known;
  };
  parts.bos = id_of(settings.bos, parts.bos);
  parts.eos = id_of(settings.eos, parts.eos);
  parts.unk = id_of(settings.unk, parts.unk);
  if (parts.eos) parts.end_of_generation.push_back(*parts.eos);
  for (const Index id : settings.end_ids) {
    // config.json may belong to a model with other ids than this tokenizer, which is no reason to refuse the tokenizer
    if (id >= 0 && id < vocabulary.size()) parts.end_of_generation.push_back(static_cast<TokenId>(id));
  }
  if (settings.end_ids.empty()) add_end_names(parts);
}

}  // namespace jericho
