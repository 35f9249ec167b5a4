// Finds added tokens by narrowing a sorted range byte by byte. Start at AddedTokenMatcher::next().
#include "text/special_tokens.h"

#include <algorithm>
#include <tuple>

#include "text/sorted_texts.h"
#include "text/unicode.h"

namespace jericho {
namespace {

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word(decode_utf8_before(text, begin).value)) ||
         (end < text.size() && is_word(decode_utf8(text, end).value));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.text.empty(); });
  std::sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return std::tie(a.text, a.id) < std::tie(b.text, b.id);  // char_traits<char> compares as unsigned
  });
  for (const AddedToken& token : tokens_) first_bytes_.set(static_cast<unsigned char>(token.text[0]));
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::next(std::string_view text, std::size_t from,
                                                                bool with_control) const {
  if (tokens_.empty()) return std::nullopt;
  for (std::size_t at = from; at < text.size(); ++at) {
    if (!first_bytes_[static_cast<unsigned char>(text[at])]) continue;
    const AddedToken* token = longest_at(text, at, with_control);
    if (token == nullptr) continue;
    Match match{at, at + token->text.size(), token->id};
    while (token->lstrip && match.begin > from) {
      const CodePoint before = decode_utf8_before(text, match.begin);
      if (!is_white_space(before.value) || match.begin - before.size < from) break;
      match.begin -= before.size;
    }
    while (token->rstrip && match.end < text.size()) {
      const CodePoint after = decode_utf8(text, match.end);
      if (!is_white_space(after.value)) break;
      match.end += after.size;
    }
    return match;
  }
  return std::nullopt;
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text, std::size_t at, bool with_control) const {
  const AddedToken* longest = nullptr;
  auto low = tokens_.begin();
  auto high = tokens_.end();
  for (std::size_t depth = 0; low != high; ++depth) {
    for (; low != high && low->text.size() == depth; ++low) {  // whole texts sort before their extensions
      if (longest != nullptr && longest->text.size() == depth) continue;
      if (low->control && !with_control) continue;
      if (low->single_word && touches_word(text, at, at + depth)) continue;
      longest = &*low;
    }
    if (at + depth >= text.size()) break;
    const auto text_of = [](const AddedToken& token) { return std::string_view(token.text); };
    std::tie(low, high) = narrow(low, high, depth, text[at + depth], text_of);
  }
  return longest;
}

Bytes AddedTokenMatcher::memory_bytes() const {
  std::size_t bytes = tokens_.capacity() * sizeof(AddedToken);
  for (const AddedToken& token : tokens_) bytes += token.text.size() > 15 ? token.text.capacity() + 1 : 0;
  return {static_cast<std::int64_t>(bytes)};
}

}  // namespace jericho
