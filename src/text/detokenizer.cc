// Holds back the bytes of a character that is not whole yet. Start at Detokenizer::push().
#include "text/detokenizer.h"

#include "text/tokenizer.h"
#include "text/unicode.h"

namespace jericho {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options)
    : tokenizer_(tokenizer), options_(options), strip_(options.at_start && tokenizer.strips_leading_space()) {}

std::string Detokenizer::push(TokenId id) {
  std::string text;
  push(id, text);
  return text;
}

void Detokenizer::push(TokenId id, std::string& out) {
  if (tokenizer_.is_control(id)) {
    if (!options_.special) return;
    out += finish();
    append_as_utf8(tokenizer_.piece(id), out);
    return;
  }
  std::string piece = tokenizer_.decoded_piece(id);
  if (strip_ && !piece.empty()) {
    strip_ = false;
    if (piece[0] == ' ') piece.erase(0, 1);
  }
  pending_ += piece;
  std::size_t certain = complete_utf8_prefix(pending_);
  if (tokenizer_.strips_trailing_space() && certain > 0 && certain == pending_.size() && pending_.back() == ' ')
    --certain;  // it is text only when more follows
  append_as_utf8(std::string_view(pending_).substr(0, certain), out);
  pending_.erase(0, certain);
}

std::string Detokenizer::finish() {
  std::string text;
  if (tokenizer_.strips_trailing_space() && pending_.ends_with(' ')) pending_.pop_back();
  append_as_utf8(pending_, text);
  pending_.clear();
  return text;
}

}  // namespace jericho
