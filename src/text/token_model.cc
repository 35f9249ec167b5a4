// When words can be encoded one by one. The merge loop itself is in the header.
#include "text/token_model.h"

namespace jericho {

bool pieces_stay_within_words(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    if (kind == TokenKind::kControl || kind == TokenKind::kUnknown) continue;
    const std::string_view text = vocabulary.text(id);
    for (std::size_t i = 1; i < text.size(); ++i) {
      if (text[i] == ' ' && text[i - 1] != ' ') return false;
    }
  }
  return true;
}

std::size_t word_end(std::string_view text, std::size_t at) {
  while (at < text.size() && text[at] == ' ') ++at;
  while (at < text.size() && text[at] != ' ') ++at;
  return at;
}

}  // namespace jericho
