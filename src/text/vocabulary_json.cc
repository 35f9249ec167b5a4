// A SAX reader that keeps pieces and merges out of the JSON value. Start at Reader.
#include "text/vocabulary_json.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::size_t kMaxDepth = 64;

// The pieces and merges go to VocabularyText, the rest is built as a value. Follows nlohmann's SAX interface.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  enum class Root { kVocabulary, kTokenizer };
  Reader(Root root, VocabularyText& text, nlohmann::json& rest) : root_(root), text_(text), rest_(rest) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool flag) override { return value(flag); }
  bool number_integer(number_integer_t number) override { return number_value(number); }
  bool number_unsigned(number_unsigned_t number) override {
    return number_value(number > std::uint64_t{1} << 62 ? -1 : static_cast<number_integer_t>(number));
  }
  bool number_float(number_float_t number, const string_t&) override {
    return taking_ == Taking::kScored ? score(number) : value(number);
  }
  bool string(string_t& text) override {
    if (taking_ == Taking::kMerges) {
      merge_text(text);
      return true;
    }
    if (taking_ == Taking::kScored) {
      if (levels_ != 1 || scored_items_++ != 0) return not_scored();
      piece_ = std::move(text);
      return true;
    }
    return value(std::move(text));
  }
  bool binary(binary_t&) override { return false; }  // JSON has none

  bool start_object(std::size_t) override {
    if (taking_ == Taking::kScored) return not_scored();
    if (taking_ != Taking::kNothing) return nested();
    if (is_vocabulary()) return take(Taking::kVocabulary);
    return open(nlohmann::json::object());
  }
  bool key(string_t& text) override {
    if (taking_ == Taking::kVocabulary && levels_ == 0) piece_ = std::move(text);
    if (taking_ == Taking::kNothing) keys_.back() = std::move(text);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override {
    if (taking_ == Taking::kMerges && levels_ == 0) pair_.clear();
    if (taking_ == Taking::kScored && levels_ == 0) scored_items_ = 0;
    if (taking_ != Taking::kNothing) return nested();
    if (root_ == Root::kTokenizer && keys_ == std::vector<std::string>{"model", "merges"}) return take(Taking::kMerges);
    if (root_ == Root::kTokenizer && is_vocabulary()) return take(Taking::kScored);
    return open(nlohmann::json::array());
  }
  bool end_array() override {
    if (taking_ == Taking::kMerges && levels_ == 1) {
      if (pair_.size() != 2) throw Error(ErrorKind::kInput, "a merge rule has not two sides");
      text_.add_merge(pair_[0], pair_[1]);
    }
    if (taking_ == Taking::kScored && levels_ == 1) {
      if (scored_items_ != 2) return not_scored();
      text_.add_scored_piece(piece_, score_);
    }
    return close();
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw Error(ErrorKind::kInput, fmt::format("not valid JSON at byte {}", position));
  }

 private:
  enum class Taking { kNothing, kVocabulary, kMerges, kScored };

  [[nodiscard]] bool is_vocabulary() const {
    if (root_ == Root::kVocabulary) return stack_.empty();
    return keys_ == std::vector<std::string>{"model", "vocab"};
  }
  bool take(Taking what) {
    taking_ = what;
    levels_ = 0;
    if (what == Taking::kScored) text_.set_form(VocabularyText::Form::kScored);
    return true;
  }
  bool nested() {
    if (taking_ == Taking::kScored && levels_ > 0) return not_scored();
    if (taking_ == Taking::kVocabulary || (taking_ == Taking::kMerges && levels_ > 0)) {
      throw Error(ErrorKind::kInput, "a piece or merge rule is a list or an object");
    }
    if (++levels_ > kMaxDepth) throw Error(ErrorKind::kInput, "the JSON is nested too deeply");
    return true;
  }
  bool open(nlohmann::json container) {
    if (stack_.size() >= kMaxDepth) throw Error(ErrorKind::kInput, "the JSON is nested too deeply");
    stack_.push_back(place(std::move(container)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    if (taking_ != Taking::kNothing) {
      if (levels_ > 0) {
        --levels_;
      } else {
        taking_ = Taking::kNothing;
      }
      return true;
    }
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }
  // Where the value now stands: only the innermost container grows, so the pointers of the outer ones hold.
  nlohmann::json* place(nlohmann::json item) {
    if (stack_.empty()) {
      rest_ = std::move(item);
      return &rest_;
    }
    nlohmann::json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(item));
      return &parent.back();
    }
    return &(parent[keys_.back()] = std::move(item));
  }
  bool value(nlohmann::json item) {
    if (taking_ == Taking::kVocabulary) {
      throw Error(ErrorKind::kInput, fmt::format("the id of piece '{}' is {}, not a number", piece_, item.type_name()));
    }
    if (taking_ == Taking::kMerges) throw Error(ErrorKind::kInput, "a merge rule is no text");
    if (taking_ == Taking::kScored) return not_scored();
    if (taking_ == Taking::kNothing) place(std::move(item));
    return true;
  }
  bool number_value(number_integer_t number) {
    if (taking_ == Taking::kScored) return score(static_cast<double>(number));
    if (taking_ != Taking::kVocabulary) return value(number);
    text_.add_piece(piece_, number);
    return true;
  }
  bool score(double number) {
    if (levels_ != 1 || scored_items_++ != 1) return not_scored();
    score_ = number;
    return true;
  }
  bool not_scored() const {
    throw Error(ErrorKind::kInput,
                fmt::format("the entry of the vocabulary behind piece '{}' is not a piece and its score", piece_));
  }
  void merge_text(const std::string& text) {
    if (levels_ == 0) {
      text_.add_merge(text);
    } else {
      pair_.push_back(text);
      if (pair_.size() > 2) throw Error(ErrorKind::kInput, "a merge rule has more than two sides");
    }
  }

  Root root_;
  VocabularyText& text_;
  nlohmann::json& rest_;
  std::vector<nlohmann::json*> stack_;
  std::vector<std::string> keys_;  // one per open container: the key being read, empty in arrays
  Taking taking_ = Taking::kNothing;
  std::size_t levels_ = 0;  // containers open within what is being taken
  std::string piece_;
  std::vector<std::string> pair_;
  int scored_items_ = 0;
  double score_ = 0.0;
};

VocabularyText parse(Reader::Root root, std::string_view text, nlohmann::json& rest) {
  VocabularyText result;
  Reader reader(root, result, rest);
  nlohmann::json::sax_parse(text, &reader);
  return result;
}

}  // namespace

void VocabularyText::add_piece(std::string_view text, Index id) {
  if (id < 0 || id >= Index{1} << 30) {
    throw Error(ErrorKind::kInput, fmt::format("piece '{}' has id {}, which is no token id", text, id));
  }
  piece_spans_.push_back(
      {static_cast<std::uint32_t>(pieces_.size()), static_cast<std::uint32_t>(text.size()), static_cast<TokenId>(id)});
  pieces_ += text;
}

void VocabularyText::add_scored_piece(std::string_view text, double score) {
  add_piece(text, static_cast<Index>(scores_.size()));
  scores_.push_back(score);
}

void VocabularyText::add_merge(std::string_view left, std::string_view right) {
  merges_ += left;
  merge_ends_.push_back(static_cast<std::uint32_t>(merges_.size()));
  merges_ += right;
  merge_ends_.push_back(static_cast<std::uint32_t>(merges_.size()));
}

void VocabularyText::add_merge(std::string_view rule) {
  const auto [left, right] = split_merge_rule(rule);
  add_merge(left, right);
}

Vocabulary VocabularyText::take_vocabulary(const std::vector<AddedToken>& added, const PieceSpelling& spelling,
                                           bool byte_fallback) {
  std::sort(piece_spans_.begin(), piece_spans_.end(), [](const Piece& a, const Piece& b) { return a.id < b.id; });
  std::vector<const AddedToken*> extra;
  for (const AddedToken& token : added) extra.push_back(&token);
  std::stable_sort(extra.begin(), extra.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
  const Index named = static_cast<Index>(piece_spans_.size() + extra.size());
  const Index last =
      std::max(piece_spans_.empty() ? -1 : piece_spans_.back().id, extra.empty() ? -1 : extra.back()->id);
  if (last >= 4 * named + 65536) {
    throw Error(ErrorKind::kInput, fmt::format("token id {} in a vocabulary of {} pieces", last, named));
  }
  Vocabulary vocabulary;
  auto piece = piece_spans_.begin();
  auto token = extra.begin();
  for (TokenId id = 0; id <= last; ++id) {
    const bool is_piece = piece != piece_spans_.end() && piece->id == id;
    if (token != extra.end() && (*token)->id == id) {
      vocabulary.add((*token)->text, (*token)->control ? TokenKind::kControl : TokenKind::kUserDefined);
    } else if (is_piece) {
      const std::string_view text = std::string_view(pieces_).substr(piece->begin, piece->size);
      const auto byte = byte_fallback ? parse_byte_piece(text) : std::nullopt;
      vocabulary.add(byte ? std::string(1, *byte) : spelling(text), byte ? TokenKind::kByte : TokenKind::kNormal);
    } else {
      vocabulary.add("", TokenKind::kUnused);
    }
    if (is_piece && (++piece) != piece_spans_.end() && piece->id == id) {
      throw Error(ErrorKind::kInput, fmt::format("two pieces have the id {}", id));
    }
    while (token != extra.end() && (*token)->id == id) ++token;
  }
  vocabulary.build_index();
  pieces_ = {};
  piece_spans_ = {};
  return vocabulary;
}

std::pair<std::string_view, std::string_view> VocabularyText::merge(Index i) const {
  const std::string_view text = merges_;
  const auto at = static_cast<std::size_t>(2 * i);
  const std::uint32_t begin = at == 0 ? 0 : merge_ends_[at - 1];
  return {text.substr(begin, merge_ends_[at] - begin),
          text.substr(merge_ends_[at], merge_ends_[at + 1] - merge_ends_[at])};
}

MergeTable VocabularyText::take_merges(const Vocabulary& vocabulary, const PieceSpelling& spelling) {
  MergeReader reader(vocabulary, spelling, merges());
  for (Index i = 0; i < merges(); ++i) {
    const auto [left, right] = merge(i);
    reader.add(left, right);
  }
  merges_ = {};
  merge_ends_ = {};
  return reader.take();
}

VocabularyText parse_vocab_json(std::string_view text) {
  nlohmann::json rest;
  VocabularyText result = parse(Reader::Root::kVocabulary, text, rest);
  if (!rest.is_null()) throw Error(ErrorKind::kInput, "the vocabulary is not an object of pieces and ids");
  return result;
}

VocabularyText parse_tokenizer_json(std::string_view text, nlohmann::json& rest) {
  return parse(Reader::Root::kTokenizer, text, rest);
}

}  // namespace jericho
