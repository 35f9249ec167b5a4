// A message of a conversation as OpenAI's API writes it, {"role", "content", ...}, and back.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "text/chat_template.h"

namespace jericho {

// Error(kInput) that names `where` and what was expected.
ChatMessage message_from_json(const nlohmann::json& json, std::string_view where);
nlohmann::json json_of_message(const ChatMessage& message);

}  // namespace jericho
