// Turns a conversation into the prompt a model was trained on, by the model's own chat template: a program in a subset
// of Jinja2, rendered as Hugging Face's transformers does. What the subset lacks is refused by name, and a hostile
// template ends in an Error. Start at ChatTemplate.                                          Details: docs/templates.md
#pragma once

#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace jericho {

class ModelFile;

// A message has the keys that it was given and no others: templates test which are there.
struct ChatMessage {
  std::string role{};     // "system", "user", "assistant", "tool"
  std::string content{};  // as text
  // A JSON object of further keys, in order: tool_calls, tool_call_id, name, reasoning_content. A "content" in it
  // replaces `content`: a list of parts, or null.
  std::string fields{};
};

struct ChatInput {
  std::vector<ChatMessage> messages{};
  std::string tools{};      // a JSON list as the request gave it; empty: none
  std::string documents{};  // the same
  bool add_generation_prompt = true;
  std::optional<std::string> bos_token{};
  std::optional<std::string> eos_token{};
  std::string variables{};  // a JSON object of more, such as {"enable_thinking": false}; wins over all above
  std::tm now{};            // local time, for strftime_now()
};

struct RenderLimits {
  Bytes output = 64_MiB;
  Bytes memory = 256_MiB;        // of values alive at once
  std::size_t steps = 20000000;  // evaluated nodes and, in units of 64, copied bytes: about a second
  int depth = 400;               // statements, expressions and macro calls within each other
};

inline constexpr Bytes kMaxTemplate = 1_MiB;

namespace jinja {
struct Program;
}

// Immutable, thread-safe.
class ChatTemplate {
 public:
  // Error(kInput) for what is no Jinja, Error(kUnsupported) for what is not in the subset; both name line and column.
  static ChatTemplate parse(std::string_view source);
  ChatTemplate(ChatTemplate&& other) noexcept;
  ChatTemplate& operator=(ChatTemplate&& other) noexcept;
  ~ChatTemplate();

  // Error(kInput): the template calls raise_exception() (its message, as it is), the input does not suit it, a limit.
  // Error(kUnsupported): it calls a function or method that we lack.
  [[nodiscard]] std::string render(const ChatInput& input, const RenderLimits& limits = {}) const;

 private:
  explicit ChatTemplate(std::unique_ptr<const jinja::Program> program);
  std::unique_ptr<const jinja::Program> program_;
};

// The template of a model, as text: tokenizer.chat_template of a GGUF; of a directory chat_template.jinja, else
// chat_template.json, else tokenizer_config.json. Where a file has several by name, `name`, else "default".
std::optional<std::string> find_chat_template(const ModelFile& file, std::string_view name = "default");

// The same of a directory's files, each up to so many bytes; nothing where there is none of the name.
using SideFileReader = std::function<std::optional<std::string>(std::string_view file, Bytes most)>;
std::optional<std::string> find_chat_template(const SideFileReader& read, std::string_view name = "default");

}  // namespace jericho
