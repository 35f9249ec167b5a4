// Reads the large JSON of tokenizers, vocab.json and tokenizer.json, without building it in memory: pieces and merge
// rules go into flat pools as they are parsed, everything else, which is small, into a JSON value.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "text/byte_level_bpe.h"
#include "text/special_tokens.h"
#include "text/vocabulary.h"

namespace jericho {

class VocabularyText {
 public:
  struct Piece {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    TokenId id = 0;
  };
  enum class Form { kIds, kScored };  // an object of pieces and ids, or a list of pieces and scores
  [[nodiscard]] Form form() const { return form_; }
  void set_form(Form form) { form_ = form; }
  void add_piece(std::string_view text, Index id);             // Error(kInput) for an id that is none
  void add_scored_piece(std::string_view text, double score);  // with the next id
  void add_merge(std::string_view left, std::string_view right);
  void add_merge(std::string_view rule);  // "left right"
  [[nodiscard]] Index merges() const { return static_cast<Index>(merge_ends_.size() / 2); }
  [[nodiscard]] std::pair<std::string_view, std::string_view> merge(Index i) const;  // as spelled in the file

  // The pieces by id, in the vocabulary's bytes; `added` by their own text, control or user-defined, wherever their ids
  // are. Ids no one names become unused pieces. Frees the text of the pieces.
  Vocabulary take_vocabulary(const std::vector<AddedToken>& added, const PieceSpelling& spelling, bool byte_fallback);
  // One per scored piece, by id.
  [[nodiscard]] std::vector<double> take_scores() { return std::move(scores_); }
  // Frees the text of the merges.
  MergeTable take_merges(const Vocabulary& vocabulary, const PieceSpelling& spelling);

 private:
  std::string pieces_;
  std::vector<Piece> piece_spans_;
  std::string merges_;
  std::vector<std::uint32_t> merge_ends_;  // two per rule
  std::vector<double> scores_;
  Form form_ = Form::kIds;
};

// {"piece": id, ...}
VocabularyText parse_vocab_json(std::string_view text);

// A tokenizer.json; `rest` is all of it but model.vocab and model.merges.
VocabularyText parse_tokenizer_json(std::string_view text, nlohmann::json& rest);

}  // namespace jericho
