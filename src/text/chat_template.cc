// The public face: variables of a rendering, as transformers defines them. Start at ChatTemplate::render().
#include "text/chat_template.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/template_interpreter.h"
#include "text/template_parser.h"

namespace jericho {
namespace {

using jinja::Dict;
using jinja::Heap;
using jinja::Value;

Value json_value(Heap& heap, const std::string& text, std::string_view what) {
  return text.empty() ? jinja::none() : heap.from_json(text, what);
}

Value json_object(Heap& heap, const std::string& text, const std::string& what) {
  Value value = text.empty() ? heap.dict() : heap.from_json(text, what);
  if (!value.is<Dict*>()) throw Error(ErrorKind::kInput, what + ": expected a JSON object");
  return value;
}

Value message_value(Heap& heap, const ChatMessage& message, std::size_t index) {
  Value value = heap.dict();
  Dict& target = *value.as<Dict*>();
  target.set(heap, heap.text("role"), heap.text(message.role));
  target.set(heap, heap.text("content"), heap.text(message.content));
  const Value fields = json_object(heap, message.fields, fmt::format("fields of message {}", index));
  for (const auto& [key, field] : fields.as<Dict*>()->entries) target.set(heap, key, field);
  return value;
}

std::string render_on(Heap& heap, const jinja::Program& program, const ChatInput& input) {
  jinja::Interpreter interpreter(heap, input.now);
  std::vector<Value> messages;
  for (const ChatMessage& message : input.messages) messages.push_back(message_value(heap, message, messages.size()));
  interpreter.define("messages", heap.list(std::move(messages)));
  interpreter.define("tools", json_value(heap, input.tools, "tools"));
  interpreter.define("documents", json_value(heap, input.documents, "documents"));
  interpreter.define("add_generation_prompt", {input.add_generation_prompt});
  if (input.bos_token) interpreter.define("bos_token", heap.text(*input.bos_token));
  if (input.eos_token) interpreter.define("eos_token", heap.text(*input.eos_token));
  const Value variables = json_object(heap, input.variables, "variables");
  for (const auto& [name, value] : variables.as<Dict*>()->entries) interpreter.define(name.text(), value);
  return interpreter.run(program);
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<const jinja::Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&& other) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&& other) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::parse(std::string_view source) {
  return ChatTemplate(std::make_unique<const jinja::Program>(jinja::parse_program(source)));
}

std::string ChatTemplate::render(const ChatInput& input, const RenderLimits& limits) const {
  Heap heap(limits);
  try {
    return render_on(heap, *program_, input);
  } catch (const jinja::Fault& fault) {
    throw Error(fault.kind, "chat template: " + fault.message);
  }
}

}  // namespace jericho
