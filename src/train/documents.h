// The documents of a file of training texts, and what of them is trained rather than only read: plain text with
// separators, or JSON Lines of texts, prompts with completions, and conversations in the form that a model's chat
// template gives them. Start at read_documents(); data.h makes tokens of them.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/index.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace jericho {

enum class TrainOn {
  kAssistant,      // every answer of a conversation
  kLastAssistant,  // the last one: for templates that rewrite what was said before
  kAll,            // all of its text
};

struct TextRange {
  std::size_t begin = 0, end = 0;  // bytes
};

struct Document {
  std::string_view text{};
  std::vector<TextRange> trained{};                // whose tokens are targets, ascending; empty: all
  SpecialTokens special = SpecialTokens::kAsText;  // of a template's text they are tokens
  bool ends = true;                                // with the tokenizer's end; a conversation ends as its template says
  bool whole = false;                              // it is one sequence, and what is too long is cut off
};

struct Documents {
  std::vector<Document> list{};
  std::deque<std::string> texts{};  // what documents point into
};

struct DocumentOptions {
  std::string separator = "<|endoftext|>";
  TrainOn train_on = TrainOn::kAssistant;
  const ChatTemplate* chat_template = nullptr;  // conversations are refused without one
  std::optional<std::string> bos_token{};       // what templates may ask for
  std::optional<std::string> eos_token{};
};

// A file called NAME.jsonl has an object per line that is not blank, NAME.json a list of such objects:
//   {"text"}                                             trained whole
//   {"prompt", "completion"}                             the completion is trained
//   {"messages": [{"role", "content", ...}], "tools"}    a conversation (OpenAI)
//   {"conversations": [{"from", "value"}]}               a conversation (ShareGPT)
//   {"instruction", "input", "output"}                   a conversation of one question (Alpaca)
// Any other file is text with `separator` between documents. Empty documents are left out. What is trained of a
// conversation is what its rendering gains by an answer, the end of the turn included: what follows the prompt that the
// model would be given. Error(kInput) names file and line, or entry.
Documents read_documents(const std::string& file, const DocumentOptions& options);

}  // namespace jericho
