// Token ids on the command line: "1,2,3", commas or spaces between them.
#pragma once

#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace jericho::cli {

// Error(kUsage) naming `flag` and what is no id; an empty list is one too.
std::vector<TokenId> parse_token_list(std::string_view flag, std::string_view text);

// Error(kUsage) naming `flag` and the first id that is not below `vocabulary`.
void require_in_vocabulary(std::string_view flag, const std::vector<TokenId>& ids, Index vocabulary);

}  // namespace jericho::cli
