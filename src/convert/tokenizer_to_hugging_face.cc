// One file for the pieces by the kind of model, then the settings. Start at hugging_face_tokenizer().
#include "convert/tokenizer_to_hugging_face.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/tokenizer_json_writer.h"
#include "convert/tokenizer_templates.h"
#include "formats/model_file.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece_proto.h"

namespace jericho {
namespace {

using nlohmann::json;

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

// The pieces without "[PADn]" at the end, whatever type the converter gave those, unless an id with a meaning is there.
std::vector<std::string_view> unpadded(const std::vector<std::string>& tokens, const TokenizerParts& parts) {
  std::size_t least = 0;
  const auto keep = [&](TokenId id) { least = std::max(least, static_cast<std::size_t>(id) + 1); };
  for (const auto& id : {parts.bos, parts.eos, parts.unk}) {
    if (id) keep(*id);
  }
  for (const auto* ids : {&parts.prefix, &parts.suffix, &parts.end_of_generation}) {
    for (const TokenId id : *ids) keep(id);
  }
  std::size_t count = tokens.size();
  while (count > least && tokens[count - 1] == fmt::format("[PAD{}]", count - 1)) --count;
  return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::string charsmap_of(const Metadata& metadata) {
  std::string bytes;
  for (const Index byte : metadata.integers(key("precompiled_charsmap")).value_or(std::vector<Index>())) {
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte & 0xFF)));
  }
  return bytes;
}

Index id_or_none(std::optional<TokenId> id) { return id ? *id : -1; }

std::string sentencepiece_file(const GgufPieces& pieces, std::optional<TokenId> padding,
                               SentencePieceProto::Type type) {
  const Metadata& metadata = pieces.metadata;
  const bool unigram = type == SentencePieceProto::Type::kUnigram;
  const std::string charsmap = charsmap_of(metadata);
  SentencePieceProto model{.type = type,
                           .unk = id_or_none(pieces.parts.unk),
                           .bos = id_or_none(pieces.parts.bos),
                           .eos = id_or_none(pieces.parts.eos),
                           .pad = id_or_none(padding),
                           .charsmap = charsmap,
                           .dummy_prefix = metadata.boolean(key("add_space_prefix")).value_or(!unigram),
                           .remove_extra_spaces = metadata.boolean(key("remove_extra_whitespaces")).value_or(false)};
  const std::vector<double> scores = metadata.require_numbers(key("scores"));
  for (std::size_t id = 0; id < pieces.tokens.size(); ++id) {
    TokenKind kind = pieces.parts.vocabulary.kind(static_cast<TokenId>(id));
    // The library wants one unknown piece, at unk_id.
    if (pieces.parts.unk && id == static_cast<std::size_t>(*pieces.parts.unk)) {
      kind = TokenKind::kUnknown;
    } else if (kind == TokenKind::kUnknown) {
      kind = TokenKind::kControl;
    }
    model.byte_fallback = model.byte_fallback || kind == TokenKind::kByte;
    model.pieces.push_back({.text = pieces.tokens[id], .score = static_cast<float>(scores[id]), .kind = kind});
  }
  return write_sentencepiece_proto(model);
}

// The ids that both kinds of settings files name.
struct SpecialIds {
  std::optional<TokenId> bos{}, eos{}, unk{}, pad{}, cls{}, sep{}, mask{};
};

SpecialIds special_ids(const Metadata& metadata, const TokenizerParts& parts, bool bert) {
  const auto id_of = [&](std::string_view name) -> std::optional<TokenId> {
    const auto id = metadata.integer(key(name));
    if (!id || *id < 0 || *id >= parts.vocabulary.size()) return std::nullopt;
    return static_cast<TokenId>(*id);
  };
  SpecialIds ids{.eos = parts.eos, .unk = parts.unk, .pad = id_of("padding_token_id"), .mask = id_of("mask_token_id")};
  if (bert) {
    ids.cls = parts.bos;
    if (!parts.suffix.empty()) ids.sep = parts.suffix.back();
  } else {
    ids.bos = parts.bos;
  }
  return ids;
}

json special_tokens(const SpecialIds& ids, const GgufPieces& pieces) {
  json object = json::object();
  const std::pair<const char*, std::optional<TokenId>> named[] = {
      {"bos_token", ids.bos}, {"eos_token", ids.eos}, {"unk_token", ids.unk},  {"pad_token", ids.pad},
      {"cls_token", ids.cls}, {"sep_token", ids.sep}, {"mask_token", ids.mask}};
  for (const auto& [name, id] : named) {
    if (!id || static_cast<std::size_t>(*id) >= pieces.tokens.size()) continue;
    static_cast<void>(quoted_token(pieces.tokens[static_cast<std::size_t>(*id)], static_cast<std::size_t>(*id)));
    object[name] = pieces.tokens[static_cast<std::size_t>(*id)];
  }
  return object;
}

json tokenizer_config(const GgufPieces& pieces, std::string_view model, const json& special) {
  const Metadata& metadata = pieces.metadata;
  json config = special;
  const bool sentencepiece = model == "llama" || model == "t5";
  config["tokenizer_class"] = model == "llama"  ? "LlamaTokenizer"
                              : model == "t5"   ? "T5Tokenizer"
                              : model == "bert" ? "BertTokenizer"
                                                : "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  config["add_bos_token"] = !pieces.parts.prefix.empty();
  config["add_eos_token"] = !pieces.parts.suffix.empty();
  if (sentencepiece) {
    config["legacy"] = true;  // a space behind special tokens too: the rule of a GGUF
    json added = json::object();
    for (const AddedToken& token : pieces.parts.added) {
      if (static_cast<std::size_t>(token.id) >= pieces.tokens.size()) continue;
      static_cast<void>(quoted_token(token.text, static_cast<std::size_t>(token.id)));
      added[std::to_string(token.id)] = {{"content", token.text}, {"lstrip", token.lstrip},
                                         {"normalized", false},   {"rstrip", token.rstrip},
                                         {"single_word", false},  {"special", token.control}};
    }
    config["added_tokens_decoder"] = added;
  }
  if (const std::string* architecture = metadata.text("general.architecture")) {
    if (const auto length = metadata.integer(*architecture + ".context_length")) config["model_max_length"] = *length;
  }
  const json templates = chat_templates_as_json(read_chat_templates(metadata));
  if (!templates.is_null()) config["chat_template"] = templates;
  return config;
}

json generation_config(const SpecialIds& ids, const TokenizerParts& parts) {
  json config = json::object();
  std::vector<TokenId> ends = parts.end_of_generation;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  if (ids.bos) config["bos_token_id"] = *ids.bos;
  if (ids.pad) config["pad_token_id"] = *ids.pad;
  if (ends.size() == 1) config["eos_token_id"] = ends[0];
  if (ends.size() > 1) config["eos_token_id"] = ends;
  return config;
}

// A template that is not UTF-8 cannot stand in a JSON file.
SideFile json_file(std::string name, const json& value) {
  try {
    return {std::move(name), value.dump(2) + "\n"};
  } catch (const json::type_error&) {
    throw Error(ErrorKind::kInput, fmt::format("{}: a text of the GGUF is not UTF-8; JSON cannot hold it", name));
  }
}

}  // namespace

std::vector<SideFile> hugging_face_tokenizer(const Metadata& metadata) {
  Metadata emptied = metadata;  // the reader frees what it has read
  const TokenizerParts parts = read_gguf_tokenizer(emptied);
  const std::string& model = metadata.require_text(key("model"));
  const GgufPieces pieces{metadata, parts, unpadded(metadata.require_texts(key("tokens")), parts)};
  const SpecialIds ids = special_ids(metadata, parts, model == "bert");

  std::vector<SideFile> files;
  if (const std::string* whole = metadata.text("tokenizer.huggingface.json")) {
    files.push_back({"tokenizer.json", *whole});
  } else if (model == "gpt2") {
    files.push_back({"tokenizer.json", byte_level_json(pieces)});
  } else if (model == "bert") {
    files.push_back({"tokenizer.json", word_piece_json(pieces)});
  } else {
    using Type = SentencePieceProto::Type;
    const Type type = model == "t5" ? Type::kUnigram : Type::kBpe;
    files.push_back({"tokenizer.model", sentencepiece_file(pieces, ids.pad, type)});
  }
  const json special = special_tokens(ids, pieces);
  files.push_back(json_file("tokenizer_config.json", tokenizer_config(pieces, model, special)));
  files.push_back(json_file("special_tokens_map.json", special));
  files.push_back(json_file("generation_config.json", generation_config(ids, parts)));
  return files;
}

std::vector<SideFile> hugging_face_tokenizer(const ModelFile& gguf) {
  return with_context([&] { return gguf.path().string(); }, [&] { return hugging_face_tokenizer(gguf.metadata()); });
}

}  // namespace jericho
