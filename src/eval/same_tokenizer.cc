// Pieces first, then ids of the text: see same_tokenizer.h.
#include "eval/same_tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "formats/printable.h"

namespace jericho {

std::optional<std::string> tokenizer_difference(const Tokenizer& tokenizer, const Tokenizer& other,
                                                std::string_view text, std::span<const TokenId> ids) {
  const Index shared = std::min(tokenizer.size(), other.size());
  for (TokenId id = 0; id < shared; ++id) {
    if (tokenizer.is_control(id) || other.is_control(id)) continue;
    const std::string piece = tokenizer.piece(id);
    const std::string other_piece = other.piece(id);
    if (piece != other_piece)
      return fmt::format("id {} is {} here and {} there", id, printable(piece), printable(other_piece));
  }
  const std::vector<TokenId> other_ids = other.encode(text);
  const auto [here, there] = std::mismatch(ids.begin(), ids.end(), other_ids.begin(), other_ids.end());
  if (here == ids.end() && there == other_ids.end()) return std::nullopt;
  const auto said = [](const auto& list, auto at) { return at == list.end() ? "its end" : fmt::format("id {}", *at); };
  return fmt::format("token {} of the text is {} here and {} there", here - ids.begin(), said(ids, here),
                     said(other_ids, there));
}

}  // namespace jericho
