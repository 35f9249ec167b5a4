// Where the messages of a conversation come from: a person at a terminal, who edits them, or the lines of a file or
// pipe. Start at MessageReader.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "base/bytes.h"

namespace jericho::cli {

class InputHistory;

// "a message of more than 64.0 KiB is too long for this context; ..."
std::string too_long_message(Bytes most);

struct TypedMessage {
  enum class Kind : std::uint8_t {
    kText,
    kEnd,          // of the input
    kInterrupted,  // Ctrl-C, or a stop request
    kRefused,      // `text` says why a message was not taken
  };
  Kind kind = Kind::kText;
  std::string text{};  // without line breaks at its end
};

// One thread.
class MessageReader {
 public:
  virtual ~MessageReader() = default;
  // Waits for the next message. A line that ends in a backslash goes on with the next one. Error(kIo).
  virtual TypedMessage read(const std::stop_token& stop) = 0;
  // Ctrl-C was pressed since the last call; does not wait.
  virtual bool interrupted() { return false; }
};

// Line by line from the file descriptor `input`; nothing is written. Messages of more than `most` are refused.
std::unique_ptr<MessageReader> make_line_reader(int input, Bytes most);

// From the terminal at standard input; what is typed is added to `history`, which outlives the reader. `prompt` is
// ASCII. The terminal is raw while the reader lives.
std::unique_ptr<MessageReader> make_terminal_reader(std::string prompt, InputHistory& history, Bytes most);

}  // namespace jericho::cli
