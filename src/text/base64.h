// Base64 (RFC 4648, section 4): the spelling of tiktoken's pieces and of the tables inside a tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace jericho {

std::optional<std::string> decode_base64(std::string_view text);  // nothing when it is none, or empty

}  // namespace jericho
