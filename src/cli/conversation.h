// A conversation as a model's chat template sees it, and as the tokens to read for the next answer. Start at
// Conversation::prompt().
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace jericho::cli {

// One thread; template and tokenizer outlive it.
class Conversation {
 public:
  Conversation(const ChatTemplate& chat_template, const Tokenizer& tokenizer)
      : template_(chat_template), tokenizer_(tokenizer) {}

  void restart();                            // forgets all but the system message
  void set_system(const std::string& text);  // and restarts; empty: no system message

  // The conversation and a user's `text` after it as tokens, up to where the answer begins; `now` is what the template
  // may ask for. Error(kInput, kUnsupported) in the template's own words when it refuses.
  [[nodiscard]] std::vector<TokenId> prompt(const std::string& text, const std::tm& now) const;
  void add_turn(const std::string& text, const std::string& answer);

  [[nodiscard]] const std::vector<ChatMessage>& messages() const { return messages_; }

  // {"messages": [{"role", "content", ...}, ...]}, as OpenAI's API has them; what is not UTF-8 becomes U+FFFD.
  [[nodiscard]] std::string to_json() const;
  // Takes the place of all messages. Also a bare list. Error(kInput) names `what` and the message at fault; nothing has
  // changed then.
  void from_json(std::string_view text, std::string_view what);

 private:
  const ChatTemplate& template_;
  const Tokenizer& tokenizer_;
  std::vector<ChatMessage> messages_{};
};

}  // namespace jericho::cli
