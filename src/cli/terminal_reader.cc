// Messages typed at a terminal: see message_reader.h.
#include <fmt/format.h>

#include "cli/input_history.h"
#include "cli/keys.h"
#include "cli/line_editor.h"
#include "cli/line_view.h"
#include "cli/message_reader.h"
#include "cli/terminal.h"

namespace jericho::cli {
namespace {

constexpr int kPollMilliseconds = 100;
constexpr std::string_view kClearScreen = "\x1b[H\x1b[2J";

class TerminalReader : public MessageReader {
 public:
  TerminalReader(std::string prompt, InputHistory& history, Bytes most)
      : history_(history), view_(std::move(prompt)), most_(most) {}

  TypedMessage read(const std::stop_token& stop) override {
    complain();
    LineEditor editor(history_, most_.size());
    draw(editor);
    while (true) {
      while (const auto key = keys_.next()) {
        const EditOutcome outcome = editor.apply(*key);
        if (auto message = finished(editor, outcome)) return *message;
        stale_ = true;
      }
      if (stale_) draw(editor);
      const auto bytes = terminal_.read(kPollMilliseconds);
      if (stop.stop_requested() || !bytes) {
        terminal_.write(view_.finish(editor.text(), terminal_.size()));
        return {bytes ? TypedMessage::Kind::kInterrupted : TypedMessage::Kind::kEnd, {}};
      }
      if (bytes->empty()) keys_.settle();
      keys_.push(*bytes);
    }
  }

  bool interrupted() override {
    while (const auto bytes = terminal_.read(0)) {
      if (bytes->empty()) break;
      keys_.push(*bytes);
    }
    return keys_.take_interrupt();
  }

 private:
  void draw(const LineEditor& editor) {
    terminal_.write(view_.draw(editor.text(), editor.cursor(), terminal_.size()));
    stale_ = false;
  }

  // The message when `outcome` ends it; acts on the outcomes that do not.
  std::optional<TypedMessage> finished(const LineEditor& editor, EditOutcome outcome) {
    switch (outcome) {
      case EditOutcome::kEditing: return std::nullopt;
      case EditOutcome::kClearScreen:
        terminal_.write(kClearScreen);
        view_.forget();
        return std::nullopt;
      case EditOutcome::kSuspended:
        terminal_.write(view_.finish(editor.text(), terminal_.size()));
        terminal_.suspend();
        return std::nullopt;
      case EditOutcome::kTooLong:
        terminal_.write(view_.finish(editor.text(), terminal_.size()));
        terminal_.write(fmt::format("left out: {}\n", too_long_message(most_)));
        return std::nullopt;
      case EditOutcome::kSubmitted:
      case EditOutcome::kInterrupted:
      case EditOutcome::kEnded: break;
    }
    terminal_.write(view_.finish(editor.text(), terminal_.size()));
    if (outcome == EditOutcome::kInterrupted) return TypedMessage{TypedMessage::Kind::kInterrupted, {}};
    if (outcome == EditOutcome::kEnded) return TypedMessage{TypedMessage::Kind::kEnd, {}};
    TypedMessage message{TypedMessage::Kind::kText, editor.text()};
    while (message.text.ends_with('\n')) message.text.pop_back();
    history_.add(message.text);
    return message;
  }

  void complain() {
    if (const auto complaint = history_.take_complaint()) terminal_.write(fmt::format("note: {}\n", *complaint));
  }

  InputHistory& history_;
  KeyDecoder keys_{};
  LineView view_;
  Bytes most_;
  Terminal terminal_{};
  bool stale_ = false;
};

}  // namespace

std::unique_ptr<MessageReader> make_terminal_reader(std::string prompt, InputHistory& history, Bytes most) {
  return std::make_unique<TerminalReader>(std::move(prompt), history, most);
}

}  // namespace jericho::cli
