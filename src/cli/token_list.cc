// Reading ids: see token_list.h.
#include "cli/token_list.h"

#include <charconv>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho::cli {

std::vector<TokenId> parse_token_list(std::string_view flag, std::string_view text) {
  std::vector<TokenId> ids;
  constexpr std::string_view kSeparators = ", \t\n";
  while (true) {
    const auto begin = text.find_first_not_of(kSeparators);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc{} || end != word.data() + word.size() || id < 0) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: '{}' is no token id; expected whole numbers such as 1,2,3", flag, word));
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
  if (ids.empty())
    throw Error(ErrorKind::kUsage, fmt::format("{}: no ids given; expected whole numbers such as 1,2,3", flag));
  return ids;
}

void require_in_vocabulary(std::string_view flag, const std::vector<TokenId>& ids, Index vocabulary) {
  for (const TokenId id : ids) {
    if (id >= vocabulary) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: token id {} is not in the vocabulary of {}", flag, id, vocabulary));
    }
  }
}

}  // namespace jericho::cli
