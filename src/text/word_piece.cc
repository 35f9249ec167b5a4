// Greedy matching over one word. Start at WordPiece::encode().
#include "text/word_piece.h"

#include <algorithm>
#include <string>

#include "text/unicode.h"

namespace jericho {

WordPiece::WordPiece(const Vocabulary& vocabulary, std::optional<TokenId> unknown, std::size_t most_characters)
    : unknown_(unknown), most_characters_(most_characters) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.kind(id) == TokenKind::kNormal) longest_ = std::max(longest_, vocabulary.text(id).size());
  }
}

void WordPiece::encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch&,
                       std::vector<TokenId>& out) const {
  const std::size_t start = out.size();
  const auto give_up = [&] {
    out.resize(start);
    if (unknown_) out.push_back(*unknown_);
  };
  std::size_t characters = 0;
  for (std::size_t at = 0; at < piece.size(); at += decode_utf8(piece, at).size) ++characters;
  if (characters > most_characters_) return give_up();

  const std::string word = " " + std::string(piece);
  for (std::size_t at = 0; at < word.size();) {
    std::size_t size = std::min(word.size() - at, longest_);
    for (; size > 0; --size) {
      const auto id = vocabulary.find(std::string_view(word).substr(at, size));
      if (!id || vocabulary.kind(*id) != TokenKind::kNormal) continue;
      out.push_back(*id);
      break;
    }
    if (size == 0) return give_up();
    at += size;
  }
}

}  // namespace jericho
