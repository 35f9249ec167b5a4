// Small sections are JSON values; vocabulary and merges are written as text, in the order of ids and ranks. Start at
// byte_level_json().
#include "convert/tokenizer_json_writer.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/metadata.h"
#include "text/known_pre_tokenizers.h"
#include "text/unicode.h"

namespace jericho {
namespace {

using nlohmann::json;

json pattern_cut(std::string_view pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

json byte_level_node(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json pre_tokenizer_of(const KnownPreTokenizer& known, bool prefix_space) {
  if (known.scanners == std::vector<Scanner>{scan_gpt2}) return byte_level_node(prefix_space, true);
  if (prefix_space) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("a space before every text together with the cuts of '{}' is not supported", known.names[0]));
  }
  json chain = json::array();
  for (const Scanner scanner : known.scanners) {
    const KnownCut* cut = find_cut_of_scanner(scanner);
    if (cut == nullptr || cut->patterns.empty()) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("pre-tokenizer '{}' has a cut whose pattern is not known, so no tokenizer.json can be "
                              "written; take the one of the original model",
                              known.names[0]));
    }
    chain.push_back(pattern_cut(cut->patterns.front()));
  }
  chain.push_back(byte_level_node(false, false));
  return {{"type", "Sequence"}, {"pretokenizers", chain}};
}

json added_tokens(const GgufPieces& pieces) {
  json list = json::array();
  for (const AddedToken& token : pieces.parts.added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= pieces.tokens.size()) continue;
    static_cast<void>(quoted_token(token.text, id));
    list.push_back({{"id", token.id},
                    {"content", token.text},
                    {"single_word", false},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", false},
                    {"special", token.control}});
  }
  return list;
}

// [CLS] text [SEP], and for pairs both texts so; ByteLevel, which moves offsets only, where nothing is added.
json post_processor_of(const GgufPieces& pieces, const json& otherwise) {
  const TokenizerParts& parts = pieces.parts;
  if (parts.prefix.empty() && parts.suffix.empty()) return otherwise;
  json tokens = json::object();
  const auto item = [&](TokenId id, int type) -> json {
    const std::string text(parts.vocabulary.text(id));
    tokens[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto around = [&](const char* name, int type) {
    json list = json::array();
    for (const TokenId id : parts.prefix) list.push_back(item(id, type));
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    for (const TokenId id : parts.suffix) list.push_back(item(id, type));
    return list;
  };
  const json single = around("A", 0);
  json pair = single;
  for (const json& each : around("B", 1)) pair.push_back(each);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

// A piece per id, in order. Of equal texts the normal one stays: added tokens have a list of their own.
std::string vocabulary_text(const GgufPieces& pieces, std::string (*spell)(std::string_view, TokenKind)) {
  const Vocabulary& vocabulary = pieces.parts.vocabulary;
  std::unordered_map<std::string, std::size_t> ids;
  std::vector<std::string> spelled;
  for (std::size_t id = 0; id < pieces.tokens.size(); ++id) {
    const TokenKind kind = vocabulary.kind(static_cast<TokenId>(id));
    spelled.push_back(spell(pieces.tokens[id], kind));
    const auto [twin, is_new] = ids.emplace(spelled.back(), id);
    if (is_new || kind != TokenKind::kNormal) continue;
    if (vocabulary.kind(static_cast<TokenId>(twin->second)) == TokenKind::kNormal) {
      throw Error(ErrorKind::kInput, fmt::format("tokens {} and {} are both '{}'; a tokenizer.json has no room for two",
                                                 twin->second, id, spelled.back()));
    }
    twin->second = id;
  }
  std::string out(1, '{');
  for (std::size_t id = 0; id < spelled.size(); ++id) {
    if (ids.at(spelled[id]) != id) continue;
    if (pieces.tokens[id] == fmt::format("[PAD{}]", id)) continue;  // an id that nothing names
    out += fmt::format("{}{}:{}", out.size() > 1 ? "," : "", quoted_token(spelled[id], id), id);
  }
  out += '}';
  return out;
}

std::string merges_text(const Metadata& metadata) {
  const std::vector<std::string>& merges = metadata.require_texts("tokenizer.ggml.merges");
  std::string out(1, '[');
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (i > 0) out += ',';
    out += quoted_token(merges[i], i);
  }
  out += ']';
  return out;
}

// `model` without its large parts, which are texts of JSON already.
std::string whole_file(const json& sections, json model, const std::string& vocabulary, const std::string& merges) {
  std::string out = "{\n\"version\":\"1.0\",\n\"truncation\":null,\n\"padding\":null,\n";
  for (const char* name : {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    out += fmt::format("\"{}\":{},\n", name, sections.at(name).dump());
  }
  std::string head = model.dump();
  head.pop_back();
  out += fmt::format("\"model\":{},\n\"vocab\":{}", head, vocabulary);
  if (!merges.empty()) out += fmt::format(",\n\"merges\":{}", merges);
  out += "}\n}\n";
  return out;
}

std::string as_it_is(std::string_view text, TokenKind) { return std::string(text); }

// llama.cpp's "▁play" and "ing" as "play" and "##ing".
std::string word_piece(std::string_view text, TokenKind kind) {
  if (kind != TokenKind::kNormal || (text.starts_with("[") && text.ends_with("]"))) return std::string(text);
  if (text.starts_with(kMetaspace)) return std::string(text.substr(kMetaspace.size()));
  return fmt::format("##{}", text);
}

}  // namespace

std::string quoted_token(std::string_view token, std::size_t id) {
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint code = decode_utf8(token, at);
    if (!code.valid) {
      throw Error(ErrorKind::kInput,
                  fmt::format("token {} is not UTF-8 (its byte {} is broken); JSON cannot hold it", id, at));
    }
    at += code.size;
  }
  return json(token).dump();
}

std::string byte_level_json(const GgufPieces& pieces) {
  const Metadata& metadata = pieces.metadata;
  const std::string* pre = metadata.text("tokenizer.ggml.pre");
  const KnownPreTokenizer& known = *find_pre_tokenizer(pre == nullptr ? "gpt-2" : *pre);  // as it was read
  const bool prefix_space = metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(false);
  const bool nfc = metadata.boolean("tokenizer.ggml.normalizer.nfc").value_or(known.nfc);
  json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", known.ignore_merges},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr}};
  if (pieces.parts.unk) model["unk_token"] = pieces.tokens.at(static_cast<std::size_t>(*pieces.parts.unk));
  const json sections = {{"added_tokens", added_tokens(pieces)},
                         {"normalizer", nfc ? json{{"type", "NFC"}} : json()},
                         {"pre_tokenizer", pre_tokenizer_of(known, prefix_space)},
                         {"post_processor", post_processor_of(pieces, byte_level_node(false, true))},
                         {"decoder", byte_level_node(false, true)}};
  return whole_file(sections, model, vocabulary_text(pieces, as_it_is), merges_text(metadata));
}

std::string word_piece_json(const GgufPieces& pieces) {
  const Metadata& metadata = pieces.metadata;
  const bool lowercase = metadata.boolean("tokenizer.ggml.normalizer.lowercase").value_or(true);
  const bool strips = metadata.boolean("tokenizer.ggml.normalizer.strip_accents").value_or(lowercase);
  if (!pieces.parts.unk) throw Error(ErrorKind::kInput, "a WordPiece model without tokenizer.ggml.unknown_token_id");
  const json model = {{"type", "WordPiece"},
                      {"unk_token", pieces.tokens.at(static_cast<std::size_t>(*pieces.parts.unk))},
                      {"continuing_subword_prefix", "##"},
                      {"max_input_chars_per_word", 1 << 20}};  // readers of a GGUF have no limit
  const json sections = {{"added_tokens", added_tokens(pieces)},
                         {"normalizer",
                          {{"type", "BertNormalizer"},
                           {"clean_text", true},
                           {"handle_chinese_chars", true},
                           {"strip_accents", strips},
                           {"lowercase", lowercase}}},
                         {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                         {"post_processor", post_processor_of(pieces, nullptr)},
                         {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}}};
  return whole_file(sections, model, vocabulary_text(pieces, word_piece), "");
}

}  // namespace jericho
