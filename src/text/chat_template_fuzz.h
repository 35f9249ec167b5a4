// What the fuzzer of chat templates does with one input, shared with the test that replays its corpus: a text or an
// Error is a right answer, and both come soon.
#pragma once

#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "text/chat_template.h"

namespace jericho::fuzz {

inline void chat_template(std::string_view source) {
  ChatInput input;
  input.messages = {{"system", "Be brief.", ""},
                    {"user", "Hi \xC3\xA9\xFF", ""},
                    {"assistant", "", R"({"tool_calls":[{"function":{"name":"f","arguments":{"a":[1,null,2.5]}}}]})"}};
  input.tools = R"([{"type":"function","function":{"name":"f","parameters":{}}}])";
  input.bos_token = "<s>";
  const RenderLimits limits{.output = 1_MiB, .memory = 8_MiB, .steps = 100000};
  try {
    const std::string text = ChatTemplate::parse(source).render(input, limits);
    JERICHO_CHECK(text.size() <= limits.output.size(), "{} bytes", text.size());
  } catch (const Error&) {
  }
}

}  // namespace jericho::fuzz
