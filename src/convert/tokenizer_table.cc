// One reader per kind of tokenizer file. Start at read_tokenizer_table().
#include "convert/tokenizer_table.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/tokenizer_merges.h"
#include "text/base64.h"
#include "text/byte_level_bpe.h"
#include "text/known_pre_tokenizers.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_proto.h"
#include "text/tokenizer_json_sections.h"
#include "text/unicode.h"
#include "text/vocab_merges.h"
#include "text/vocabulary_json.h"

namespace jericho {
namespace {

using nlohmann::json;
using tokenizer_json::nodes;

[[noreturn]] void no_gguf_for(std::string_view what, std::string_view remedy) {
  throw Error(ErrorKind::kUnsupported, fmt::format("a GGUF cannot say {}; {}", what, remedy));
}

std::string padding_name(std::size_t id) { return fmt::format("[PAD{}]", id); }

std::string metaspace_spelling(std::string_view text) { return replace_all(text, " ", kMetaspace); }

// The pieces of `parts` by id, as `spell` writes normal ones.
void take_pieces(const TokenizerParts& parts, std::string (*spell)(std::string_view), TokenizerTable& table) {
  for (TokenId id = 0; id < parts.vocabulary.size(); ++id) {
    const std::string_view text = parts.vocabulary.text(id);
    const TokenKind kind = parts.vocabulary.kind(id);
    if (kind == TokenKind::kByte) {
      table.tokens.push_back(fmt::format("<0x{:02X}>", static_cast<unsigned char>(text[0])));
    } else if (kind == TokenKind::kUnused && text.empty()) {  // no file names this id
      table.tokens.push_back(padding_name(static_cast<std::size_t>(id)));
    } else if (kind == TokenKind::kNormal || kind == TokenKind::kUnused) {
      table.tokens.push_back(spell(text));
    } else {
      table.tokens.emplace_back(text);
    }
    table.kinds.push_back(kind);
  }
  if (parts.unk && spell == metaspace_spelling) table.kinds[static_cast<std::size_t>(*parts.unk)] = TokenKind::kUnknown;
}

void take_merges(const VocabularyText& text, TokenizerTable& table) {
  for (Index i = 0; i < text.merges(); ++i) {
    const auto [left, right] = text.merge(i);
    if (left.find(' ', 1) != std::string_view::npos) {
      no_gguf_for(fmt::format("the merge rule of '{}' and '{}', whose left side has a space", left, right),
                  "byte-level pieces have none");
    }
    table.merges.push_back(fmt::format("{} {}", left, right));
  }
}

// The name of a family that cuts so.
void take_name(const KnownPreTokenizer& wanted, std::string_view described, TokenizerTable& table) {
  const KnownPreTokenizer* known = find_pre_tokenizer(wanted);
  if (known == nullptr) {
    no_gguf_for(fmt::format("how this tokenizer cuts text, {}{}", described,
                            wanted.ignore_merges ? ", with ignore_merges" : ""),
                fmt::format("a GGUF names a family, and known are {}", known_pre_tokenizer_names()));
  }
  table.pre = known->names.front();
  if (known->nfc != wanted.nfc) table.nfc = wanted.nfc;
}

void read_byte_level(const json& root, const VocabularyText& text, const TokenizerParts& parts, TokenizerTable& table) {
  table.model = "gpt2";
  KnownPreTokenizer wanted{.ignore_merges = json_flag(*json_field(root, "model"), "ignore_merges", false)};
  for (const json* node : nodes(root, "normalizer", "normalizers")) {
    if (json_text(*node, "type", "") != "NFC")
      no_gguf_for(fmt::format("the normalizer {}", json_text(*node, "type", "")), "byte-level models have NFC or none");
    wanted.nfc = true;
  }
  const auto cuts = nodes(root, "pre_tokenizer", "pretokenizers");
  std::optional<std::vector<Scanner>> scanners = parts.pre_tokenizer.scanners();
  if (cuts.size() == 1 && json_text(*cuts[0], "type", "") == "ByteLevel" &&
      json_flag(*cuts[0], "add_prefix_space", true)) {
    table.add_space_prefix = true;
    scanners = json_flag(*cuts[0], "use_regex", true) ? std::vector<Scanner>{scan_gpt2} : std::vector<Scanner>{};
  }
  const json* section = json_field(root, "pre_tokenizer");
  const std::string described = section == nullptr ? "with no pre_tokenizer" : "by pre_tokenizer " + section->dump();
  if (!scanners) no_gguf_for("how this tokenizer cuts text, " + described, "a GGUF names a family that is known");
  wanted.scanners = *scanners;
  take_name(wanted, described, table);
  take_pieces(parts, to_byte_alphabet, table);
  take_merges(text, table);
}

// What comes out of normalizer and pre_tokenizer for the letter "a": whether a space is put before it.
bool gets_space(const TokenizerParts& parts, std::string_view text, FragmentPlace place) {
  std::string normal;
  std::string ready;
  const std::string_view prepared =
      parts.before_pieces.apply(parts.normalizer.apply(text, place, normal), place, ready);
  std::string out;
  parts.pre_tokenizer.for_each_piece(prepared, [&](std::string_view piece) { out += piece; });
  return out.size() > text.size();
}

// The GGUF rule: a space before every fragment, or before none.
void take_space_prefix(const TokenizerParts& parts, TokenizerTable& table) {
  const bool at_start = gets_space(parts, "a", FragmentPlace::kStart);
  table.add_space_prefix = at_start;
  if (at_start && !gets_space(parts, "a", FragmentPlace::kInside)) {
    table.notes.push_back(
        "this tokenizer puts a space before a text, but not behind special tokens; programs that read a GGUF do both");
  }
  if (at_start && !gets_space(parts, " a", FragmentPlace::kStart)) {
    table.notes.push_back(
        "this tokenizer puts no space before a text that begins with one; programs that read a GGUF do");
  }
}

void require_types(const json& root, std::string_view section, std::string_view list,
                   std::initializer_list<std::string_view> types, std::string_view model) {
  for (const json* node : nodes(root, section, list)) {
    const std::string type = json_text(*node, "type", "");
    if (std::find(types.begin(), types.end(), type) == types.end()) {
      no_gguf_for(fmt::format("the {} {} of a {} model", section, type, model),
                  "a tokenizer.model beside config.json, without the tokenizer.json, would do where there is one");
    }
  }
}

// Scores and kinds of a tokenizer.model that has the same pieces at the same ids. False when it has not.
bool take_exact_scores(const SentencePieceProto& proto, TokenizerTable& table) {
  if (proto.pieces.size() > table.tokens.size()) return false;
  for (std::size_t i = 0; i < proto.pieces.size(); ++i) {
    if (proto.pieces[i].text != table.tokens[i]) return false;
  }
  table.scores.assign(table.tokens.size(), 0.0f);
  for (std::size_t i = 0; i < proto.pieces.size(); ++i) {
    table.scores[i] = proto.pieces[i].score;
    if (table.kinds[i] == TokenKind::kNormal) table.kinds[i] = proto.pieces[i].kind;
  }
  return true;
}

std::optional<std::string> sentencepiece_file(const SideFiles& files) {
  auto bytes = files("tokenizer.model");
  if (bytes && !looks_like_sentencepiece_model(*bytes)) return std::nullopt;
  return bytes;
}

void read_metaspace(const json& root, const VocabularyText& text, const TokenizerParts& parts, const SideFiles& files,
                    TokenizerTable& table) {
  table.model = "llama";
  require_types(root, "normalizer", "normalizers", {"Prepend", "Replace"}, "SentencePiece");
  require_types(root, "pre_tokenizer", "pretokenizers", {"Metaspace", "Split"}, "SentencePiece");
  take_pieces(parts, metaspace_spelling, table);
  take_space_prefix(parts, table);
  if (const auto model = sentencepiece_file(files)) {
    const SentencePieceProto proto = read_sentencepiece_proto(*model);
    if (proto.type == SentencePieceProto::Type::kBpe && take_exact_scores(proto, table)) return;
  }
  table.scores = scores_of_merges(text, table.tokens, table.kinds);
}

void read_unigram(const json& root, VocabularyText& text, const TokenizerParts& parts, const SideFiles& files,
                  TokenizerTable& table) {
  table.model = "t5";
  require_types(root, "normalizer", "normalizers", {"Precompiled", "Strip", "Replace"}, "unigram");
  require_types(root, "pre_tokenizer", "pretokenizers", {"Metaspace", "WhitespaceSplit"}, "unigram");
  take_pieces(parts, metaspace_spelling, table);
  take_space_prefix(parts, table);
  for (const double score : text.take_scores()) table.scores.push_back(static_cast<float>(score));
  table.scores.resize(table.tokens.size(), 0.0f);
  bool collapses = false;
  for (const json* node : nodes(root, "pre_tokenizer", "pretokenizers")) {
    collapses = collapses || json_text(*node, "type", "") == "WhitespaceSplit";
  }
  for (const json* node : nodes(root, "normalizer", "normalizers")) {
    const std::string type = json_text(*node, "type", "");
    if (type == "Replace") {
      const auto pattern = tokenizer_json::pattern_of(*node, "normalizer");
      if (!pattern.is_regex || pattern.text != " {2,}")
        no_gguf_for(fmt::format("the normalizer Replace of '{}'", pattern.text), "runs of spaces can be replaced");
      collapses = true;
    }
    if (type == "Precompiled") {
      table.charsmap = decode_base64(json_text(*node, "precompiled_charsmap", "")).value_or("");
    }
  }
  table.remove_extra_whitespaces = collapses;
  if (const auto model = sentencepiece_file(files)) take_exact_scores(read_sentencepiece_proto(*model), table);
}

// llama.cpp's spelling: "play" is "▁play", "##ing" is "ing", names in brackets stay.
std::string word_piece_spelling(std::string_view text) {
  if (text.starts_with(" [") && text.ends_with("]")) return std::string(text.substr(1));
  return metaspace_spelling(text);
}

void read_word_piece(const json& root, const TokenizerParts& parts, TokenizerTable& table) {
  table.model = "bert";
  require_types(root, "normalizer", "normalizers", {"BertNormalizer"}, "WordPiece");
  require_types(root, "pre_tokenizer", "pretokenizers", {"BertPreTokenizer"}, "WordPiece");
  take_pieces(parts, word_piece_spelling, table);
  for (const json* node : nodes(root, "normalizer", "normalizers")) {
    table.lowercase = json_flag(*node, "lowercase", true);
    table.strip_accents = json_flag(*node, "strip_accents", *table.lowercase);
  }
}

void read_json(const std::string& file, const TokenizerParts& parts, const SideFiles& files, TokenizerTable& table) {
  json root;
  VocabularyText text = parse_tokenizer_json(file, root);
  const std::string type = json_text(*json_field(root, "model"), "type", "BPE");
  bool byte_level = false;
  for (const json* node : nodes(root, "decoder", "decoders")) {
    byte_level = byte_level || json_text(*node, "type", "") == "ByteLevel";
  }
  if (type == "Unigram") return read_unigram(root, text, parts, files, table);
  if (type == "WordPiece") return read_word_piece(root, parts, table);
  if (!json_text(*json_field(root, "model"), "end_of_word_suffix", "").empty())
    no_gguf_for("end_of_word_suffix", "no model kind of GGUF has it");
  if (byte_level) return read_byte_level(root, text, parts, table);
  read_metaspace(root, text, parts, files, table);
}

void read_sentencepiece(const std::string& file, const TokenizerParts& parts, TokenizerTable& table) {
  const SentencePieceProto proto = read_sentencepiece_proto(file);
  const bool unigram = proto.type == SentencePieceProto::Type::kUnigram;
  table.model = unigram ? "t5" : "llama";
  for (const auto& piece : proto.pieces) {
    table.tokens.emplace_back(piece.text);
    table.kinds.push_back(piece.kind);
    table.scores.push_back(piece.score);
  }
  take_space_prefix(parts, table);
  if (unigram) {
    table.charsmap = proto.charsmap;
    table.remove_extra_whitespaces = proto.remove_extra_spaces;
    return;
  }
  if (!proto.charsmap.empty())
    no_gguf_for("a normalization table of a byte-pair model", "only unigram models have one");
  if (proto.remove_extra_spaces) {
    table.remove_extra_whitespaces = true;
    table.notes.push_back("this tokenizer takes runs of spaces for one; llama.cpp does not for models of its kind");
  }
}

void read_tiktoken(const TokenizerParts& parts, TokenizerTable& table) {
  table.model = "gpt2";
  // Whole pieces are taken first, which changes nothing: every piece of such a vocabulary is the result of its merges.
  KnownPreTokenizer wanted{.scanners = parts.pre_tokenizer.scanners().value_or(std::vector<Scanner>()),
                           .ignore_merges = true};
  if (find_pre_tokenizer(wanted) == nullptr) wanted.ignore_merges = false;
  take_name(wanted, "as tiktoken does", table);
  take_pieces(parts, to_byte_alphabet, table);
  table.merges = merges_of_ranks(parts.vocabulary);
}

// Tokens that settings add behind those of the model's own file.
void take_added(const SideFiles& files, TokenizerTable& table) {
  const HuggingFaceSettings settings = read_hugging_face_settings(files, nlohmann::json());
  const std::size_t limit = table.tokens.size() + 65536;  // a stray id must not make a million padding tokens
  for (const AddedToken& token : settings.added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id < table.tokens.size() || id >= limit) continue;
    while (table.tokens.size() < id) {
      table.tokens.push_back(padding_name(table.tokens.size()));
      table.kinds.push_back(TokenKind::kUnused);
    }
    table.tokens.push_back(token.text);
    table.kinds.push_back(token.control ? TokenKind::kControl : TokenKind::kUserDefined);
  }
  if (!table.scores.empty()) table.scores.resize(table.tokens.size(), 0.0f);
}

}  // namespace

TokenizerTable read_tokenizer_table(const SideFiles& files, const TokenizerParts& parts) {
  TokenizerTable table;
  if (const auto file = files("tokenizer.json")) {
    with_context([] { return std::string("tokenizer.json"); }, [&] { read_json(*file, parts, files, table); });
  } else if (const auto model = files("tokenizer.model")) {
    const bool sentencepiece = looks_like_sentencepiece_model(*model);
    with_context([] { return std::string("tokenizer.model"); },
                 [&] { sentencepiece ? read_sentencepiece(*model, parts, table) : read_tiktoken(parts, table); });
    if (sentencepiece) take_added(files, table);
  } else {
    const KnownPreTokenizer& known =
        pre_tokenizer_of_class(read_hugging_face_settings(files, nlohmann::json()).tokenizer_class);
    table.model = "gpt2";
    table.pre = known.names.front();
    take_pieces(parts, to_byte_alphabet, table);
    VocabularyText rules;
    read_merges(files("merges.txt").value_or(""), rules);
    take_merges(rules, table);
  }
  return table;
}

}  // namespace jericho
