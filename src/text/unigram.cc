// Viterbi over one word. Start at Unigram::encode_word().
#include "text/unigram.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "text/sorted_texts.h"
#include "text/unicode.h"

namespace jericho {
namespace {

constexpr double kUnknownPenalty = 10.0;

// What a path through the lattice may use. Unused pieces are never emitted, byte pieces only for what is unknown.
bool is_usable(TokenKind kind) { return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined; }

}  // namespace

Unigram::Unigram(const Vocabulary& vocabulary, std::vector<double> scores, std::optional<TokenId> unknown)
    : scores_(std::move(scores)),
      bytes_(vocabulary, unknown, UnknownRuns::kFused),
      by_words_(pieces_stay_within_words(vocabulary)) {
  JERICHO_CHECK(static_cast<Index>(scores_.size()) == vocabulary.size(), "{} scores, {} pieces", scores_.size(),
                vocabulary.size());
  double least = std::numeric_limits<double>::infinity();
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    double& score = scores_[static_cast<std::size_t>(id)];
    if (vocabulary.kind(id) == TokenKind::kNormal) least = std::min(least, score);
    if (vocabulary.kind(id) == TokenKind::kUserDefined) score = 0.0;
    // Of pieces with the same text, the one that the vocabulary finds counts.
    if (is_usable(vocabulary.kind(id)) && vocabulary.find(vocabulary.text(id)) == id && !vocabulary.text(id).empty())
      sorted_.push_back(id);
  }
  unknown_score_ = least - kUnknownPenalty;
  sorted_.shrink_to_fit();
  std::sort(sorted_.begin(), sorted_.end(),
            [&](TokenId a, TokenId b) { return vocabulary.text(a) < vocabulary.text(b); });
  for (const TokenId id : sorted_) ++first_byte_[static_cast<unsigned char>(vocabulary.text(id)[0]) + 1u];
  for (std::size_t byte = 0; byte < 256; ++byte) first_byte_[byte + 1] += first_byte_[byte];
}

void Unigram::encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
                     std::vector<TokenId>& out) const {
  const std::size_t start = out.size();
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t end = by_words_ ? word_end(piece, at) : piece.size();
    encode_word(vocabulary, piece.substr(at, end - at), start, scratch, out);
    at = end;
  }
}

void Unigram::encode_word(const Vocabulary& vocabulary, std::string_view word, std::size_t start, MergeScratch& scratch,
                          std::vector<TokenId>& out) const {
  auto& best = scratch.lattice;
  best.assign(word.size() + 1, {});
  best[0].score = 0.0;
  const auto reach = [&](std::size_t from, std::size_t size, TokenId id, double score) {
    LatticeNode& end = best[from + size];
    const double sum = best[from].score + score;
    if (end.size != 0 && !(sum > end.score)) return;
    end = {sum, static_cast<std::uint32_t>(size), id};
  };
  const auto text_of = [&](TokenId id) { return vocabulary.text(id); };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t character = decode_utf8(word, at).size;
    const auto first = static_cast<unsigned char>(word[at]);
    auto low = sorted_.begin() + first_byte_[first];
    auto high = sorted_.begin() + first_byte_[first + 1u];
    bool is_known = false;
    for (std::size_t size = 1; low != high; ++size) {
      if (text_of(*low).size() == size) {  // whole texts sort before their extensions
        reach(at, size, *low, scores_[static_cast<std::size_t>(*low)]);
        is_known = is_known || size == character;
        ++low;
      }
      if (at + size >= word.size()) break;
      std::tie(low, high) = narrow(low, high, size, word[at + size], text_of);
    }
    if (!is_known) reach(at, character, -1, unknown_score_);
    at += character;
  }

  auto& path = scratch.path;
  path.clear();
  for (std::size_t end = word.size(); end > 0; end -= best[end].size) path.push_back(static_cast<std::uint32_t>(end));
  for (auto end = path.rbegin(); end != path.rend(); ++end) {
    const LatticeNode& node = best[*end];
    if (node.id >= 0) {
      out.push_back(node.id);
    } else {
      bytes_.append(word.substr(*end - node.size, node.size), start, out);
    }
  }
}

Bytes Unigram::memory_bytes() const {
  return {static_cast<std::int64_t>(sizeof(*this) + scores_.capacity() * sizeof(double) +
                                    sorted_.capacity() * sizeof(TokenId))};
}

}  // namespace jericho
