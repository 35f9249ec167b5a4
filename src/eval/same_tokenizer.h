// Whether two models speak the same tokens: only then do probabilities of one model's ids say something about the
// other's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace jericho {

// The first difference in words, nothing when there is none: `text` gives other ids than `ids`, those of `tokenizer`,
// or an id that both have is another piece. Control tokens may have other names, and ids that only one has count for
// nothing: files are padded differently.
std::optional<std::string> tokenizer_difference(const Tokenizer& tokenizer, const Tokenizer& other,
                                                std::string_view text, std::span<const TokenId> ids);

}  // namespace jericho
