// Conversations: see conversation.h.
#include "cli/conversation.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "text/chat_messages.h"

namespace jericho::cli {
namespace {

using Json = nlohmann::json;

constexpr Bytes kLargestFile = 64_MiB;

}  // namespace

void Conversation::restart() {
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(has_system ? 1 : 0);
}

void Conversation::set_system(const std::string& text) {
  messages_.clear();
  if (!text.empty()) messages_.push_back({"system", text, ""});
}

void Conversation::add_turn(const std::string& text, const std::string& answer) {
  messages_.push_back({"user", text, ""});
  messages_.push_back({"assistant", answer, ""});
}

std::vector<TokenId> Conversation::prompt(const std::string& text, const std::tm& now) const {
  ChatInput input;
  input.messages = messages_;
  input.messages.push_back({"user", text, ""});
  input.now = now;
  if (tokenizer_.bos()) input.bos_token = tokenizer_.piece(*tokenizer_.bos());
  if (tokenizer_.eos()) input.eos_token = tokenizer_.piece(*tokenizer_.eos());
  const std::string rendered =
      with_context([] { return "the chat template refuses"; }, [&] { return template_.render(input); });
  std::vector<TokenId> ids = tokenizer_.encode(rendered, {.add_bos = false});
  // Most templates write the token that begins a text themselves; twice, it makes answers worse.
  const bool begins = !ids.empty() && ids.front() == tokenizer_.bos();
  if (tokenizer_.adds_bos() && !begins) ids.insert(ids.begin(), *tokenizer_.bos());
  if (ids.empty()) throw Error(ErrorKind::kInput, "the chat template makes an empty text of this conversation");
  return ids;
}

std::string Conversation::to_json() const {
  Json list = Json::array();
  for (const ChatMessage& message : messages_) list.push_back(json_of_message(message));
  return Json{{"messages", list}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void Conversation::from_json(std::string_view text, std::string_view what) {
  const Json json = parse_json(text, what, kLargestFile);
  const bool wrapped = json.is_object() && json.contains("messages");
  const Json& list = wrapped ? json["messages"] : json;
  if (!list.is_array())
    throw Error(ErrorKind::kInput, fmt::format("{}: expected {{\"messages\": [...]}} or a list of messages", what));
  std::vector<ChatMessage> messages;
  for (const Json& each : list)
    messages.push_back(message_from_json(each, fmt::format("{}: message {}", what, messages.size() + 1)));
  messages_ = std::move(messages);
}

}  // namespace jericho::cli
