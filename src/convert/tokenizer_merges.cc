// Both conversions. Start at scores_of_merges() and merges_of_ranks().
#include "convert/tokenizer_merges.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/unicode.h"

namespace jericho {
namespace {

constexpr Index kNever = std::numeric_limits<Index>::max();

[[noreturn]] void no_scores(std::string_view why) {
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("a GGUF has scores of pieces where this tokenizer.json has merge rules, and no scores do what "
                  "these rules do: {}; put the tokenizer.model it was made from beside it",
                  why));
}

// Of every piece, that each pair of pieces it could be made of has a rule.
void require_all_pairs(const std::unordered_set<std::string>& rules, const std::vector<std::string>& tokens,
                       const std::vector<TokenKind>& kinds) {
  std::unordered_set<std::string_view> pieces;
  const auto merges = [&](std::size_t id) { return kinds[id] == TokenKind::kNormal; };
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (merges(id)) pieces.insert(tokens[id]);
  }
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!merges(id)) continue;
    const std::string_view piece = tokens[id];
    for (std::size_t at = decode_utf8(piece, 0).size; at < piece.size(); at += decode_utf8(piece, at).size) {
      const std::string_view left = piece.substr(0, at);
      const std::string_view right = piece.substr(at);
      if (!pieces.contains(left) || !pieces.contains(right)) continue;
      if (!rules.contains(fmt::format("{} {}", left, right)))
        no_scores(fmt::format("'{}' and '{}' make a piece, but no rule merges them", left, right));
    }
  }
}

}  // namespace

std::vector<float> scores_of_merges(const VocabularyText& rules, const std::vector<std::string>& tokens,
                                    const std::vector<TokenKind>& kinds) {
  std::unordered_map<std::string, Index> first_rule;
  std::unordered_set<std::string> all;
  std::string last;
  for (Index i = 0; i < rules.merges(); ++i) {
    const auto [left, right] = rules.merge(i);
    std::string piece = fmt::format("{}{}", left, right);
    all.insert(fmt::format("{} {}", left, right));
    if (!first_rule.emplace(piece, i).second && piece != last)
      no_scores(fmt::format("rule {} makes '{}', as one before others did", i, piece));
    last = std::move(piece);
  }
  require_all_pairs(all, tokens, kinds);

  std::vector<std::pair<Index, std::size_t>> order;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (kinds[id] != TokenKind::kNormal) continue;
    const auto found = first_rule.find(tokens[id]);
    order.emplace_back(found == first_rule.end() ? kNever : found->second, id);
  }
  std::sort(order.begin(), order.end());
  std::vector<float> scores(tokens.size(), 0.0f);
  for (std::size_t place = 0; place < order.size(); ++place) scores[order[place].second] = -static_cast<float>(place);
  return scores;
}

std::vector<std::string> merges_of_ranks(const Vocabulary& vocabulary) {
  std::vector<std::string> merges;
  std::vector<std::size_t> borders;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view piece = vocabulary.text(id);
    if (vocabulary.kind(id) != TokenKind::kNormal || piece.size() < 2) continue;
    borders.resize(piece.size() + 1);
    for (std::size_t i = 0; i < borders.size(); ++i) borders[i] = i;
    while (borders.size() > 3) {  // the pair of the lowest earlier rank, until two parts are left
      TokenId lowest = id;
      std::size_t place = 0;
      for (std::size_t i = 1; i + 1 < borders.size(); ++i) {
        const auto rank = vocabulary.find(piece.substr(borders[i - 1], borders[i + 1] - borders[i - 1]));
        if (!rank || *rank >= lowest || vocabulary.kind(*rank) != TokenKind::kNormal) continue;
        lowest = *rank;
        place = i;
      }
      if (place == 0) break;
      borders.erase(borders.begin() + static_cast<std::ptrdiff_t>(place));
    }
    if (borders.size() != 3) continue;  // no merges lead there; only a whole word can be this piece
    merges.push_back(fmt::format("{} {}", to_byte_alphabet(piece.substr(0, borders[1])),
                                 to_byte_alphabet(piece.substr(borders[1]))));
  }
  return merges;
}

}  // namespace jericho
