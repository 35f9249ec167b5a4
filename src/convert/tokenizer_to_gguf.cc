// Pieces come from tokenizer_table.h; here are the ids with a meaning and the writing. Start at write_gguf_tokenizer().
#include "convert/tokenizer_to_gguf.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/tokenizer_table.h"
#include "convert/tokenizer_templates.h"
#include "formats/gguf_writer.h"
#include "formats/json_file.h"
#include "formats/model_file.h"
#include "text/load_tokenizer.h"
#include "text/special_ids.h"

namespace jericho {
namespace {

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

void set_id(std::string_view name, std::optional<TokenId> id, GgufWriter& out) {
  if (id) out.set(key(name), static_cast<std::uint32_t>(*id));
}

void pad(Index vocab_size, TokenizerTable& table) {
  const auto count = static_cast<Index>(table.tokens.size());
  if (count > vocab_size) {
    throw Error(ErrorKind::kInput, fmt::format("the tokenizer has {} tokens, but the model has rows for {}; do both "
                                               "belong to one model?",
                                               count, vocab_size));
  }
  for (Index id = count; id < vocab_size; ++id) {
    table.tokens.push_back(fmt::format("[PAD{}]", id));
    table.kinds.push_back(TokenKind::kUnused);
    if (!table.scores.empty()) table.scores.push_back(0.0f);
  }
}

void write_pieces(const TokenizerTable& table, GgufWriter& out) {
  out.set(key("model"), table.model);
  out.set(key("pre"), table.pre);
  out.set(key("tokens"), table.tokens);
  if (!table.scores.empty()) out.set(key("scores"), table.scores);
  std::vector<std::int32_t> kinds;
  for (const TokenKind kind : table.kinds) kinds.push_back(static_cast<std::int32_t>(kind));
  out.set(key("token_type"), kinds);
  if (table.model == "gpt2") out.set(key("merges"), table.merges);
  const std::pair<std::string_view, std::optional<bool>> flags[] = {
      {"add_space_prefix", table.add_space_prefix},
      {"remove_extra_whitespaces", table.remove_extra_whitespaces},
      {"normalizer.nfc", table.nfc},
      {"normalizer.lowercase", table.lowercase},
      {"normalizer.strip_accents", table.strip_accents}};
  for (const auto& [name, flag] : flags) {
    if (flag) out.set(key(name), *flag);
  }
  if (!table.charsmap.empty()) {
    out.set(key("precompiled_charsmap"), std::vector<std::uint8_t>(table.charsmap.begin(), table.charsmap.end()));
  }
}

// Where generation ends. A reader takes eos, eot and eom, and without an eot the control tokens whose names say so: as
// much of that is written as leaves the same set.
void write_ends(TokenizerParts& parts, std::vector<std::string>& notes, GgufWriter& out) {
  const auto sorted = [](std::vector<TokenId> ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  };
  const std::vector<TokenId> wanted = sorted(std::move(parts.end_of_generation));
  std::optional<TokenId> eos = parts.eos;
  if (!eos && !wanted.empty()) eos = wanted.front();
  set_id("eos_token_id", eos, out);
  if (!eos) return;
  parts.end_of_generation = {*eos};
  add_end_names(parts);
  if (sorted(parts.end_of_generation) == wanted) return;
  std::vector<TokenId> others;
  std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(others), [&](TokenId id) { return id != *eos; });
  set_id("eot_token_id", others.empty() ? *eos : others[0], out);
  if (others.size() > 1) set_id("eom_token_id", others[1], out);
  for (std::size_t i = 2; i < others.size(); ++i) {
    notes.push_back(fmt::format("a GGUF names three tokens that end generation; '{}' is left out",
                                parts.vocabulary.text(others[i])));
  }
}

// What is put before and behind a text.
void write_affixes(const TokenizerParts& parts, const TokenizerTable& table, std::vector<std::string>& notes,
                   GgufWriter& out) {
  const bool bert = table.model == "bert";
  set_id(bert ? "cls_token_id" : "bos_token_id", parts.bos, out);
  const auto is_only = [](const std::vector<TokenId>& ids, std::optional<TokenId> id) {
    return id && ids == std::vector<TokenId>{*id};
  };
  const auto tell = [&](const std::vector<TokenId>& ids, bool written, std::string_view where) {
    if (ids.empty() || written) return;
    std::string names;
    for (const TokenId id : ids) names += parts.vocabulary.text(id);
    notes.push_back(
        fmt::format("this tokenizer puts '{}' {} a text, which a GGUF cannot say; write it out", names, where));
  };
  const bool adds_bos = is_only(parts.prefix, parts.bos);
  out.set(key("add_bos_token"), adds_bos);
  tell(parts.prefix, adds_bos, "before");
  if (bert) {
    const bool adds_separator = parts.suffix.size() == 1;
    if (adds_separator) set_id("seperator_token_id", parts.suffix[0], out);  // sic
    out.set(key("add_sep_token"), adds_separator);
    return tell(parts.suffix, adds_separator, "behind");
  }
  const bool adds_eos = is_only(parts.suffix, parts.eos);
  out.set(key("add_eos_token"), adds_eos);
  tell(parts.suffix, adds_eos, "behind");
}

std::optional<TokenId> find_token(const TokenizerTable& table, std::string_view text) {
  const auto found = std::find(table.tokens.begin(), table.tokens.end(), text);
  if (found == table.tokens.end()) return std::nullopt;
  return static_cast<TokenId>(found - table.tokens.begin());
}

// A special token of tokenizer_config.json or special_tokens_map.json: its text, or an object with a content.
void write_named_ids(const SideFiles& files, const TokenizerTable& table, GgufWriter& out) {
  constexpr std::array<std::pair<const char*, const char*>, 2> kNamed = {
      {{"pad_token", "padding_token_id"}, {"mask_token", "mask_token_id"}}};
  for (const auto& [field, name] : kNamed) {
    for (const std::string_view file : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const auto text = files(file);
      if (!text) continue;
      const nlohmann::json object = parse_json(*text, file, 64_MiB);
      const nlohmann::json* value = json_field(object, field);
      if (value == nullptr) continue;
      const std::string token = value->is_object() ? json_text(*value, "content", "") : json_text(object, field, "");
      if (const auto id = find_token(table, token)) {
        set_id(name, id, out);
        break;
      }
    }
  }
}

// Tokens for filling in the middle are known by name only. The names are those of llama.cpp's llama-vocab.cpp.
void write_infill_ids(const TokenizerTable& table, GgufWriter& out) {
  struct Role {
    std::string_view name{};
    std::vector<std::string_view> tokens{};
  };
  const Role roles[] = {
      {"fim_pre_token_id", {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"}},
      {"fim_suf_token_id", {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"}},
      {"fim_mid_token_id", {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"}},
      {"fim_pad_token_id", {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"}},
      {"fim_rep_token_id", {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<reponame>", "<repo_name>"}},
      {"fim_sep_token_id", {"<|file_sep|>"}}};
  for (const Role& role : roles) {
    for (const std::string_view token : role.tokens) {
      const auto id = find_token(table, token);
      if (!id) continue;
      const TokenKind kind = table.kinds[static_cast<std::size_t>(*id)];
      if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) continue;
      set_id(role.name, id, out);
      break;
    }
  }
}

// Readers of a GGUF know no such flags.
void note_lost_flags(const TokenizerParts& parts, std::vector<std::string>& notes) {
  std::string names;
  for (const AddedToken& token : parts.added) {
    if (!token.lstrip && !token.rstrip && !token.single_word) continue;
    if (!names.empty()) names += ", ";
    names += token.text;
  }
  if (names.empty()) return;
  notes.push_back(
      fmt::format("that these tokens swallow white space beside them, or stand alone, a GGUF cannot say: {}", names));
}

}  // namespace

std::vector<std::string> write_gguf_tokenizer(const ModelFile& directory, Index vocab_size, GgufWriter& out) {
  return with_context([&] { return directory.path().string(); },
                      [&] {
                        const SideFiles files = [&](std::string_view name) {
                          return directory.side_file(name, kMaxTokenizerFile);
                        };
                        TokenizerParts parts = read_hugging_face_tokenizer(files, directory.config());
                        TokenizerTable table = read_tokenizer_table(files, parts);
                        std::vector<std::string> notes = std::move(table.notes);
                        notes.insert(notes.begin(), parts.notes.begin(), parts.notes.end());
                        note_lost_flags(parts, notes);
                        pad(vocab_size, table);
                        write_pieces(table, out);
                        write_affixes(parts, table, notes, out);
                        if (table.model != "bert") write_ends(parts, notes, out);
                        set_id("unknown_token_id", parts.unk, out);
                        write_named_ids(files, table, out);
                        write_infill_ids(table, out);
                        write_chat_templates(read_chat_templates(files), out);
                        return notes;
                      });
}

}  // namespace jericho
