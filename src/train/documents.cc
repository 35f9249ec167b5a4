// Files of texts, by their lines: see documents.h.
#include "train/documents.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_messages.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (!in || failure) throw Error(ErrorKind::kInput, fmt::format("{}: no such file, or it cannot be read", path));
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  if (static_cast<std::size_t>(in.gcount()) != size)
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be read whole", path));
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

void add_separated(std::string_view text, const std::string& separator, std::vector<Document>& out) {
  while (true) {
    const std::size_t end = separator.empty() ? std::string_view::npos : text.find(separator);
    const std::string_view document = trimmed(text.substr(0, end));
    if (!document.empty()) out.push_back({.text = document});
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + separator.size());
  }
}

// One object of a file.
class Entry {
 public:
  Entry(const Json& record, const DocumentOptions& options, Documents& out)
      : record_(record), options_(options), out_(out) {}

  void add() {
    if (!record_.is_object()) refuse(record_.is_discarded() ? "no JSON" : "something else");
    if (record_.contains("messages")) return add_conversation(messages("messages"));
    if (record_.contains("conversations")) return add_conversation(share_gpt());
    if (record_.contains("prompt")) return add_completion();
    if (record_.contains("instruction")) return add_conversation(alpaca());
    if (!record_.contains("text")) refuse("an object without any of them");
    const std::string_view text = trimmed(field("text"));
    if (!text.empty()) out_.list.push_back({.text = keep(std::string(text))});
  }

 private:
  [[noreturn]] static void refuse(std::string_view found) {
    throw Error(ErrorKind::kInput,
                fmt::format("expected an object with \"text\", \"messages\", \"conversations\", \"instruction\" or "
                            "\"prompt\" and \"completion\", found {}",
                            found));
  }
  std::string_view keep(std::string text) { return out_.texts.emplace_back(std::move(text)); }

  [[nodiscard]] const std::string& field(const char* name) const {
    const auto found = record_.find(name);
    if (found == record_.end() || !found->is_string())
      throw Error(ErrorKind::kInput, fmt::format("expected \"{}\" as text", name));
    return found->get_ref<const std::string&>();
  }
  [[nodiscard]] std::vector<ChatMessage> messages(const char* name) const {
    const Json& list = record_.at(name);
    if (!list.is_array()) throw Error(ErrorKind::kInput, fmt::format("expected \"{}\" as a list", name));
    std::vector<ChatMessage> result;
    for (const Json& each : list)
      result.push_back(message_from_json(each, fmt::format("message {}", result.size() + 1)));
    return result;
  }
  [[nodiscard]] std::vector<ChatMessage> share_gpt() const {
    const Json& list = record_.at("conversations");
    std::vector<ChatMessage> result;
    for (const Json& each : list.is_array() ? list : Json::array({Json()})) {
      const bool good = each.is_object() && each.contains("from") && each["from"].is_string() &&
                        each.contains("value") && each["value"].is_string();
      if (!good) throw Error(ErrorKind::kInput, R"("conversations": expected a list of {"from", "value"})");
      const std::string from = each["from"];
      const std::string role = from == "human" ? "user" : from == "gpt" ? "assistant" : from;
      result.push_back({role, each["value"].get<std::string>(), ""});
    }
    return result;
  }
  [[nodiscard]] std::vector<ChatMessage> alpaca() const {
    std::string question = field("instruction");
    if (record_.contains("input") && !field("input").empty()) question += "\n\n" + field("input");
    return {{"user", question, ""}, {"assistant", field("output"), ""}};
  }

  void add_completion() {
    const std::string &prompt = field("prompt"), &completion = field("completion");
    if (completion.empty()) return;
    Document document{.text = keep(prompt + completion), .whole = true};
    if (options_.train_on != TrainOn::kAll) document.trained = {{prompt.size(), document.text.size()}};
    out_.list.push_back(std::move(document));
  }

  [[nodiscard]] std::string render(std::vector<ChatMessage> messages, bool prompts) const {
    ChatInput input;
    input.messages = std::move(messages);
    input.add_generation_prompt = prompts;
    input.bos_token = options_.bos_token;
    input.eos_token = options_.eos_token;
    if (record_.contains("tools")) input.tools = record_["tools"].dump();
    return with_context([] { return "the chat template refuses"; },
                        [&] { return options_.chat_template->render(input); });
  }

  void add_conversation(const std::vector<ChatMessage>& messages) {
    if (options_.chat_template == nullptr) {
      throw Error(ErrorKind::kInput,
                  "is a conversation, and the model has no chat template; give one by data.template");
    }
    const std::string_view whole = keep(render(messages, false));
    Document document{.text = whole, .special = SpecialTokens::kParse, .ends = false, .whole = true};
    if (options_.train_on != TrainOn::kAll) {
      document.trained = answers(whole, messages);
      if (document.trained.empty()) return;
      document.text = whole.substr(0, document.trained.back().end);  // nothing after it is read before an answer
    }
    out_.list.push_back(std::move(document));
  }

  [[nodiscard]] std::vector<TextRange> answers(std::string_view whole, const std::vector<ChatMessage>& messages) const {
    std::vector<TextRange> ranges;
    const auto is_answer = [](const ChatMessage& message) { return message.role == "assistant"; };
    const auto last = std::find_if(messages.rbegin(), messages.rend(), is_answer).base();
    for (auto message = messages.begin(); message != last; ++message) {
      if (!is_answer(*message) || (options_.train_on == TrainOn::kLastAssistant && message + 1 != last)) continue;
      const std::string prompt = render({messages.begin(), message}, true);
      const std::string answered =
          message + 1 == messages.end() ? std::string(whole) : render({messages.begin(), message + 1}, false);
      const auto differs = std::mismatch(prompt.begin(), prompt.end(), answered.begin(), answered.end()).first;
      const auto begin = static_cast<std::size_t>(differs - prompt.begin());
      if (!whole.starts_with(answered) || (!ranges.empty() && begin < ranges.back().end)) {
        throw Error(
            ErrorKind::kInput,
            fmt::format("message {}: the chat template writes what precedes an answer in another form once more "
                        "follows; data.train_on: last-assistant trains the last answer alone",
                        message - messages.begin() + 1));
      }
      if (answered.size() > begin) ranges.push_back({begin, answered.size()});
    }
    return ranges;
  }

  const Json& record_;
  const DocumentOptions& options_;
  Documents& out_;
};

void add_lines(const std::string& file, const std::string& text, const DocumentOptions& options, Documents& out) {
  Index number = 0;
  for (std::size_t read = 0; read < text.size();) {
    ++number;
    const std::size_t end = std::min(text.find('\n', read), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(read, end - read));
    read = end + 1;
    if (line.empty()) continue;
    with_context([&] { return fmt::format("{}: line {}", file, number); },
                 [&] { Entry(Json::parse(line, nullptr, false), options, out).add(); });
  }
}

void add_entries(const std::string& file, const std::string& text, const DocumentOptions& options, Documents& out) {
  const Json list = Json::parse(text, nullptr, false);
  if (!list.is_array()) {
    throw Error(ErrorKind::kInput, fmt::format("{}: expected a list of objects, found {}", file,
                                               list.is_discarded() ? "no JSON" : "something else"));
  }
  Index number = 0;
  for (const Json& each : list) {
    ++number;
    with_context([&] { return fmt::format("{}: entry {}", file, number); }, [&] { Entry(each, options, out).add(); });
  }
}

}  // namespace

Documents read_documents(const std::string& file, const DocumentOptions& options) {
  Documents documents;
  if (file.ends_with(".jsonl")) {
    add_lines(file, read_file(file), options, documents);
  } else if (file.ends_with(".json")) {
    add_entries(file, read_file(file), options, documents);
  } else {
    add_separated(documents.texts.emplace_back(read_file(file)), options.separator, documents.list);
  }
  if (documents.list.empty()) throw Error(ErrorKind::kInput, fmt::format("{}: holds no text", file));
  return documents;
}

}  // namespace jericho
