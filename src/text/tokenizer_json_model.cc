// The "model" of a tokenizer.json: one function per type. Start at read_model().
#include <fmt/format.h>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/hf_settings.h"
#include "text/piece_spelling.h"
#include "text/piece_stages.h"
#include "text/special_ids.h"
#include "text/tokenizer_json_sections.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace jericho::tokenizer_json {
namespace {

PieceSpelling spelling_of(const Plan& plan) {
  if (plan.byte_level) return from_bytes_spelling;
  if (plan.metaspace || plan.decodes_metaspace) return from_metaspace_spelling;
  return from_plain_spelling;
}

std::optional<TokenId> unknown_token(const json& node, const Vocabulary& vocabulary, const PieceSpelling& spelling) {
  const std::string text = json_text(node, "unk_token", "");
  if (text.empty()) return std::nullopt;
  if (const auto id = vocabulary.find(text)) return id;
  if (const auto id = vocabulary.find(spelling(text))) return id;
  throw Error(ErrorKind::kInput, fmt::format("unk_token '{}' is not in the vocabulary", text));
}

void read_bpe(const json& node, VocabularyText& text, Plan& plan) {
  if (const json* dropout = json_field(node, "dropout"); dropout != nullptr && *dropout != 0.0)
    unsupported("model", "dropout");
  if (!json_text(node, "continuing_subword_prefix", "").empty()) unsupported("model", "continuing_subword_prefix");
  const std::string suffix = json_text(node, "end_of_word_suffix", "");
  if (!suffix.empty() && (plan.byte_level || plan.metaspace)) unsupported("model", "end_of_word_suffix with spaces");
  const PieceSpelling spelling = suffix.empty() ? spelling_of(plan) : from_word_end_spelling(suffix);

  TokenizerParts& parts = plan.parts;
  parts.vocabulary = text.take_vocabulary(parts.added, spelling, json_flag(node, "byte_fallback", false));
  parts.unk = unknown_token(node, parts.vocabulary, spelling);
  const auto lookup =
      json_flag(node, "ignore_merges", false) ? ByteLevelBpe::Lookup::kWholePieces : ByteLevelBpe::Lookup::kMergesOnly;
  MergeTable merges = text.take_merges(parts.vocabulary, spelling);
  if (plan.byte_level) {
    parts.model = std::make_unique<ByteLevelBpe>(parts.vocabulary, std::move(merges), lookup, parts.unk);
    return;
  }
  const auto runs = json_flag(node, "fuse_unk", false) ? UnknownRuns::kFused : UnknownRuns::kEach;
  if (!suffix.empty()) {
    parts.pre_tokenizer.add(make_rewriting_stage([](std::string_view word) { return std::string(word) + ' '; }));
  }
  const auto words = suffix.empty() ? CharacterBpe::Words::kOpen : CharacterBpe::Words::kEndInSpace;
  parts.model = std::make_unique<CharacterBpe>(parts.vocabulary, std::move(merges), lookup, parts.unk, runs, words);
}

void read_unigram(const json& node, VocabularyText& text, Plan& plan) {
  TokenizerParts& parts = plan.parts;
  std::vector<double> scores = text.take_scores();
  parts.vocabulary = text.take_vocabulary(parts.added, spelling_of(plan), json_flag(node, "byte_fallback", false));
  scores.resize(static_cast<std::size_t>(parts.vocabulary.size()), 0.0);
  if (json_field(node, "unk_id") != nullptr)
    parts.unk = checked_token(parts.vocabulary, json_index(node, "unk_id"), "unk_id");
  parts.model = std::make_unique<Unigram>(parts.vocabulary, std::move(scores), parts.unk);
}

void read_word_piece(const json& node, VocabularyText& text, Plan& plan) {
  if (plan.byte_level || plan.metaspace) unsupported("model", "WordPiece with ByteLevel or U+2581");
  const std::string prefix = json_text(node, "continuing_subword_prefix", "##");
  if (prefix.empty()) throw Error(ErrorKind::kInput, "model: continuing_subword_prefix is empty");
  const PieceSpelling spelling = from_word_piece_spelling(prefix);
  TokenizerParts& parts = plan.parts;
  parts.vocabulary = text.take_vocabulary(parts.added, spelling, false);
  parts.unk = unknown_token(node, parts.vocabulary, spelling);
  const Index most =
      json_field(node, "max_input_chars_per_word") == nullptr ? 100 : json_index(node, "max_input_chars_per_word");
  if (most < 0) throw Error(ErrorKind::kInput, fmt::format("model: max_input_chars_per_word is {}", most));
  parts.model = std::make_unique<WordPiece>(parts.vocabulary, parts.unk, static_cast<std::size_t>(most));
}

}  // namespace

void read_model(const json& root, VocabularyText text, Plan& plan) {
  const json* node = json_field(root, "model");
  if (node == nullptr) throw Error(ErrorKind::kInput, "\"model\" is missing");
  const std::string type = json_text(*node, "type", "BPE");  // absent in old files, which knew no other
  const auto expect = [&](VocabularyText::Form form, std::string_view what) {
    if (text.form() != form) throw Error(ErrorKind::kInput, fmt::format("model: the vocabulary is not {}", what));
  };
  const std::string word_end = type == "BPE" ? json_text(*node, "end_of_word_suffix", "") : "";
  if (word_end != plan.decodes_word_end) {
    unsupported("decoder", fmt::format("with words that end in '{}' for a model where they end in '{}'",
                                       plan.decodes_word_end, word_end));
  }
  if ((type == "WordPiece") != plan.decodes_word_piece) unsupported("decoder", fmt::format("for a {} model", type));
  if (type == "Unigram") {
    expect(VocabularyText::Form::kScored, "a list of pieces and scores");
    return read_unigram(*node, text, plan);
  }
  if (type != "BPE" && type != "WordPiece") unsupported("model", type);
  expect(VocabularyText::Form::kIds, "an object of pieces and ids");
  return type == "BPE" ? read_bpe(*node, text, plan) : read_word_piece(*node, text, plan);
}

}  // namespace jericho::tokenizer_json
