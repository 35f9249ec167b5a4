// One reader per value of tokenizer.ggml.model; a new model kind is one more. Start at read_gguf_tokenizer().
#include "text/gguf_tokenizer.h"

#include <cctype>
#include <cmath>
#include <limits>
#include <memory>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/metadata.h"
#include "text/byte_level_bpe.h"
#include "text/charsmap.h"
#include "text/known_pre_tokenizers.h"
#include "text/regex_split.h"
#include "text/rewrites.h"
#include "text/sentencepiece_bpe.h"
#include "text/special_ids.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace jericho {
namespace {

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

enum class Spelling { kMetaspace, kByteAlphabet };

// The bytes a piece stands for in text. Control and user-defined pieces are written as they are.
std::string plain_piece(std::string_view text, TokenKind kind, Spelling spelling) {
  if (kind == TokenKind::kByte) {
    if (const auto byte = parse_byte_piece(text)) return std::string(1, *byte);
    return std::string(text);
  }
  if (kind == TokenKind::kControl || kind == TokenKind::kUnknown) return std::string(text);
  if (spelling == Spelling::kMetaspace) return replace_all(text, kMetaspace, " ");
  if (kind == TokenKind::kUserDefined) return std::string(text);
  return from_byte_alphabet(text).value_or(std::string(text));
}

TokenKind kind_of(Index number) {
  if (number == 0) return TokenKind::kNormal;
  if (number < 0 || number > 6)
    throw Error(ErrorKind::kInput, fmt::format("token type {} is not one of 0 to 6", number));
  return static_cast<TokenKind>(number);
}

// Whether the file has token types.
bool read_vocabulary(Metadata& metadata, Spelling spelling, Vocabulary& vocabulary) {
  const std::vector<std::string>& tokens = metadata.require_texts(key("tokens"));
  const auto kinds = metadata.integers(key("token_type"));
  if (kinds && kinds->size() != tokens.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("{} has {} entries for {} tokens", key("token_type"), kinds->size(), tokens.size()));
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    TokenKind kind = kinds ? kind_of((*kinds)[i]) : TokenKind::kNormal;
    if (!kinds && spelling == Spelling::kMetaspace && parse_byte_piece(tokens[i])) kind = TokenKind::kByte;
    vocabulary.add(plain_piece(tokens[i], kind, spelling), kind);
  }
  metadata.erase(key("tokens"));
  metadata.erase(key("token_type"));
  return kinds.has_value();
}

std::optional<TokenId> read_id(const Metadata& metadata, std::string_view name, const Vocabulary& vocabulary,
                               std::optional<Index> fallback = {}) {
  const auto id = metadata.integer(key(name));
  if (id) return checked_token(vocabulary, *id, key(name));
  if (fallback && *fallback < vocabulary.size()) return static_cast<TokenId>(*fallback);
  return std::nullopt;
}

struct DefaultIds {  // of a model kind whose files need not name them
  std::optional<Index> bos{}, eos{}, unk{};
};

void read_special_ids(const Metadata& metadata, const DefaultIds& fallback, bool typed, TokenizerParts& parts) {
  parts.bos = read_id(metadata, "bos_token_id", parts.vocabulary, fallback.bos);
  parts.eos = read_id(metadata, "eos_token_id", parts.vocabulary, fallback.eos);
  parts.unk = read_id(metadata, "unknown_token_id", parts.vocabulary, fallback.unk);
  const auto eot = read_id(metadata, "eot_token_id", parts.vocabulary);
  const auto eom = read_id(metadata, "eom_token_id", parts.vocabulary);
  for (const auto& id : {parts.eos, eot, eom}) {
    if (id) parts.end_of_generation.push_back(*id);
  }
  if (!typed) {  // then nothing else says that these have no text
    for (const auto& id : {parts.bos, parts.eos}) {
      if (id) parts.vocabulary.set_kind(*id, TokenKind::kControl);
    }
    if (parts.unk) parts.vocabulary.set_kind(*parts.unk, TokenKind::kUnknown);
  }
}

// llama.cpp's rule for Phi-3: control tokens take the white space behind them.
void apply_phi3_rule(const Metadata& metadata, TokenizerParts& parts) {
  const std::string* name = metadata.text("general.name");
  if (name == nullptr) return;
  std::string lower;
  for (const char c : *name) lower.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  if (lower.find("phi-3") == std::string::npos && lower.find("phi3") == std::string::npos) return;
  for (AddedToken& token : parts.added) {
    token.rstrip = token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>";
  }
}

std::vector<double> read_scores(Metadata& metadata, const Vocabulary& vocabulary) {
  std::vector<double> scores = metadata.numbers(key("scores")).value_or(std::vector<double>());
  metadata.erase(key("scores"));
  if (static_cast<Index>(scores.size()) != vocabulary.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("{} has {} entries for {} tokens", key("scores"), scores.size(), vocabulary.size()));
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) throw Error(ErrorKind::kInput, fmt::format("the score of token {} is not a number", i));
  }
  return scores;
}

TokenizerParts read_sentencepiece(Metadata& metadata) {
  TokenizerParts parts;
  const bool typed = read_vocabulary(metadata, Spelling::kMetaspace, parts.vocabulary);
  const std::vector<double> scores = read_scores(metadata, parts.vocabulary);
  read_special_ids(metadata, {.bos = 1, .eos = 2, .unk = 0}, typed, parts);
  parts.vocabulary.build_index();
  parts.model =
      std::make_unique<SentencePieceBpe>(parts.vocabulary, std::vector<float>(scores.begin(), scores.end()), parts.unk);

  using Step = NormalizerStep;
  // llama.cpp heeds this key for unigram models only; byte-pair models that collapse are rare, and then it is not
  // there.
  if (metadata.boolean(key("remove_extra_whitespaces")).value_or(false)) parts.normalizer.add(collapse_spaces);
  parts.normalizer.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
  if (metadata.boolean(key("add_space_prefix")).value_or(true)) {
    parts.normalizer.add({.kind = Step::Kind::kPrepend, .to = " ", .prepend = Step::Prepend::kAlways});
    parts.strips_leading_space = true;
  }
  set_affixes(parts, metadata.boolean(key("add_bos_token")).value_or(true),
              metadata.boolean(key("add_eos_token")).value_or(false));
  return parts;
}

std::shared_ptr<const Charsmap> read_charsmap(Metadata& metadata) {
  const auto bytes = metadata.integers(key("precompiled_charsmap"));
  if (!bytes || bytes->empty()) return nullptr;
  metadata.erase(key("precompiled_charsmap"));
  std::string blob;
  blob.reserve(bytes->size());
  for (const Index byte : *bytes) {  // of type u8, or i8 in files of early converters
    if (byte < -128 || byte > 255)
      throw Error(ErrorKind::kInput, fmt::format("{} holds {}, not bytes", key("precompiled_charsmap"), byte));
    blob.push_back(static_cast<char>(static_cast<unsigned char>(byte & 0xFF)));
  }
  return std::make_shared<Charsmap>(blob);
}

// T5 and its kin. The order of steps and the defaults are llama.cpp's (llm_tokenizer_ugm); a fragment gets its space
// also behind a special token.
TokenizerParts read_unigram(Metadata& metadata) {
  TokenizerParts parts;
  const bool typed = read_vocabulary(metadata, Spelling::kMetaspace, parts.vocabulary);
  std::vector<double> scores = read_scores(metadata, parts.vocabulary);
  read_special_ids(metadata, {.eos = 1, .unk = 2}, typed, parts);
  parts.vocabulary.build_index();
  parts.model = std::make_unique<Unigram>(parts.vocabulary, std::move(scores), parts.unk);

  using Step = NormalizerStep;
  if (const auto map = read_charsmap(metadata)) {
    parts.normalizer.add([map](std::string_view text) { return map->apply_longest(text); }, map->memory_bytes());
  }
  if (metadata.boolean(key("remove_extra_whitespaces")).value_or(false)) parts.normalizer.add(collapse_spaces);
  parts.normalizer.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
  if (metadata.boolean(key("add_space_prefix")).value_or(false)) {
    parts.normalizer.add({.kind = Step::Kind::kPrepend, .to = " ", .prepend = Step::Prepend::kAlways});
    parts.strips_leading_space = true;
  }
  set_affixes(parts, metadata.boolean(key("add_bos_token")).value_or(false),
              metadata.boolean(key("add_eos_token")).value_or(true));
  return parts;
}

// BERT and its kin: [CLS] text [SEP]. Files have the pieces as the model wants them: "\u2581play" and "ing".
TokenizerParts read_word_piece(Metadata& metadata) {
  TokenizerParts parts;
  const bool typed = read_vocabulary(metadata, Spelling::kMetaspace, parts.vocabulary);
  read_special_ids(metadata, {.bos = 101, .unk = 100}, typed, parts);
  if (const auto cls = read_id(metadata, "cls_token_id", parts.vocabulary)) parts.bos = cls;
  const auto separator = read_id(metadata, "seperator_token_id", parts.vocabulary, 102);  // sic
  parts.vocabulary.build_index();
  parts.model = std::make_unique<WordPiece>(parts.vocabulary, parts.unk, std::numeric_limits<std::size_t>::max());

  const bool lowercase = metadata.boolean(key("normalizer.lowercase")).value_or(true);
  parts.normalizer.add(clean_for_bert);
  parts.normalizer.add(space_ideographs);
  if (metadata.boolean(key("normalizer.strip_accents")).value_or(lowercase)) parts.normalizer.add(strip_accents);
  if (lowercase) parts.normalizer.add(to_lower);
  parts.pre_tokenizer.add(make_class_splitter(is_white_space, {.behavior = SplitBehavior::kRemoved}));
  parts.pre_tokenizer.add(make_class_splitter(is_bert_punctuation, {}));
  parts.strips_leading_space = true;
  set_affixes(parts, metadata.boolean(key("add_bos_token")).value_or(true), false);
  if (separator && metadata.boolean(key("add_sep_token")).value_or(true)) parts.suffix = {*separator};
  return parts;
}

const KnownPreTokenizer& require_pre_tokenizer(const Metadata& metadata, TokenizerParts& parts) {
  const std::string* name = metadata.text(key("pre"));
  if (name == nullptr) {
    parts.notes.push_back(
        "the file does not name its pre-tokenizer; gpt-2 is assumed, so tokens may differ from training");
    return *find_pre_tokenizer("gpt-2");
  }
  const KnownPreTokenizer* known = find_pre_tokenizer(*name);
  if (known == nullptr) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("pre-tokenizer '{}' is not known; known are {}", *name, known_pre_tokenizer_names()));
  }
  return *known;
}

TokenizerParts read_byte_level(Metadata& metadata) {
  TokenizerParts parts;
  const KnownPreTokenizer& known = require_pre_tokenizer(metadata, parts);
  const bool typed = read_vocabulary(metadata, Spelling::kByteAlphabet, parts.vocabulary);
  read_special_ids(metadata, {}, typed, parts);
  parts.vocabulary.build_index();

  const std::vector<std::string>& rules = metadata.require_texts(key("merges"));
  MergeReader merges(parts.vocabulary, from_bytes_spelling, static_cast<Index>(rules.size()));
  for (const std::string& rule : rules) merges.add(rule);
  metadata.erase(key("merges"));
  const auto lookup = known.ignore_merges ? ByteLevelBpe::Lookup::kWholePieces : ByteLevelBpe::Lookup::kMergesOnly;
  parts.model = std::make_unique<ByteLevelBpe>(parts.vocabulary, merges.take(), lookup, parts.unk);

  using Step = NormalizerStep;
  // A key of ours, for models that normalize and are known by the name of a family that does not.
  if (metadata.boolean(key("normalizer.nfc")).value_or(known.nfc)) parts.normalizer.add(to_nfc);
  if (metadata.boolean(key("add_space_prefix")).value_or(false)) {
    parts.before_pieces.add({.kind = Step::Kind::kPrepend, .to = " ", .prepend = Step::Prepend::kUnlessThere});
  }
  for (const Scanner scanner : known.scanners) parts.pre_tokenizer.add(scanner);
  set_affixes(parts, metadata.boolean(key("add_bos_token")).value_or(known.adds_bos),
              metadata.boolean(key("add_eos_token")).value_or(false));
  return parts;
}

}  // namespace

TokenizerParts read_gguf_tokenizer(Metadata& metadata) {
  const std::string* model = metadata.text(key("model"));
  if (model == nullptr || *model == "none" || *model == "no_vocab") {
    throw Error(ErrorKind::kInput, "the model has no tokenizer; give ids with --tokens");
  }
  TokenizerParts parts;
  if (*model == "llama") {
    parts = read_sentencepiece(metadata);
  } else if (*model == "gpt2") {
    parts = read_byte_level(metadata);
  } else if (*model == "t5") {
    parts = read_unigram(metadata);
  } else if (*model == "bert") {
    parts = read_word_piece(metadata);
  } else {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("tokenizer model '{}' is not supported; supported are llama, gpt2, t5 and bert", *model));
  }
  parts.added = added_tokens_by_kind(parts.vocabulary);
  apply_phi3_rule(metadata, parts);
  if (!metadata.has(key("eot_token_id"))) add_end_names(parts);
  return parts;
}

}  // namespace jericho
