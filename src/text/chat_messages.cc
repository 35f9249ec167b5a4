// Messages as JSON: see chat_messages.h.
#include "text/chat_messages.h"

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {

using Json = nlohmann::json;

ChatMessage message_from_json(const Json& json, std::string_view where) {
  const auto refuse = [&](std::string_view expected) {
    throw Error(ErrorKind::kInput, fmt::format("{}: expected {}", where, expected));
  };
  if (!json.is_object()) refuse("an object with \"role\" and \"content\"");
  if (!json.contains("role") || !json["role"].is_string()) refuse("\"role\" as text");
  ChatMessage message;
  message.role = json["role"];
  Json fields = json;
  fields.erase("role");
  const Json content = fields.value("content", Json());
  if (!content.is_string() && !content.is_null() && !content.is_array())
    refuse("\"content\" as text, a list of parts or null");
  if (content.is_string()) {
    message.content = content;
    fields.erase("content");
  } else if (content.is_null()) {
    if (!fields.contains("tool_calls")) refuse("\"content\"");
    fields["content"] = nullptr;
  }
  if (!fields.empty()) message.fields = fields.dump();
  return message;
}

Json json_of_message(const ChatMessage& message) {
  Json json = message.fields.empty() ? Json::object() : Json::parse(message.fields);
  json["role"] = message.role;
  if (!json.contains("content")) json["content"] = message.content;
  return json;
}

}  // namespace jericho
