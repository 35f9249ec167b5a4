// Merging by score, and taking unused pieces apart again. Start at SentencePieceBpe::encode_word().
#include "text/sentencepiece_bpe.h"

#include <bit>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "text/unicode.h"

namespace jericho {
namespace {

// Order of the result is the reverse of the order of scores, NaN included: the bits of a float sort like a signed
// magnitude.
std::uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score == 0.0f ? 0.0f : score);
  return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

bool may_result(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
}

// How unused pieces came about, so that they can be taken apart again.
using Splits = std::unordered_map<TokenId, std::pair<std::string_view, std::string_view>>;

}  // namespace

SentencePieceBpe::SentencePieceBpe(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                   std::optional<TokenId> unknown)
    : bytes_(vocabulary, unknown, UnknownRuns::kFused), by_words_(pieces_stay_within_words(vocabulary)) {
  JERICHO_CHECK(static_cast<Index>(scores.size()) == vocabulary.size(), "{} scores, {} pieces", scores.size(),
                vocabulary.size());
  ranks_.reserve(scores.size());
  for (const float score : scores) ranks_.push_back(rank_of(score));
}

void SentencePieceBpe::encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
                              std::vector<TokenId>& out) const {
  const std::size_t start = out.size();
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t end = by_words_ ? word_end(piece, at) : piece.size();
    encode_word(vocabulary, piece.substr(at, end - at), start, scratch, out);
    at = end;
  }
}

void SentencePieceBpe::encode_word(const Vocabulary& vocabulary, std::string_view word, std::size_t start,
                                   MergeScratch& scratch, std::vector<TokenId>& out) const {
  scratch.symbols.clear();
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t size = decode_utf8(word, at).size;
    scratch.add(at, size, -1);
    at += size;
  }
  Splits splits;
  merge_symbols(scratch, [&](const MergeSymbol& left, const MergeSymbol& right) -> std::optional<Merge> {
    const auto id = vocabulary.find(word.substr(left.begin, left.size + right.size));
    if (!id || !may_result(vocabulary.kind(*id))) return std::nullopt;
    if (vocabulary.kind(*id) == TokenKind::kUnused) {
      splits[*id] = {word.substr(left.begin, left.size), word.substr(right.begin, right.size)};
    }
    return Merge{ranks_[static_cast<std::size_t>(*id)], *id};
  });

  std::vector<std::string_view> parts;  // a stack, deepest part last: unused pieces may nest as deep as they are long
  for (std::int32_t i = scratch.symbols.empty() ? -1 : 0; i >= 0;) {
    const MergeSymbol& symbol = scratch.symbols[static_cast<std::size_t>(i)];
    i = symbol.next;
    parts.push_back(word.substr(symbol.begin, symbol.size));
    while (!parts.empty()) {
      const std::string_view part = parts.back();
      parts.pop_back();
      const auto id = vocabulary.find(part);
      if (id && may_result(vocabulary.kind(*id))) {
        const auto split = splits.find(*id);
        if (split != splits.end()) {
          parts.push_back(split->second.second);
          parts.push_back(split->second.first);
          continue;
        }
        out.push_back(*id);
      } else {
        bytes_.append(part, start, out);
      }
    }
  }
}

Bytes SentencePieceBpe::memory_bytes() const {
  return {static_cast<std::int64_t>(sizeof(*this) + ranks_.capacity() * sizeof(std::uint32_t))};
}

}  // namespace jericho
