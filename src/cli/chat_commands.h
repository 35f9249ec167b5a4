// What a line typed into a chat means: a message, or a command that begins with a slash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace jericho::cli {

enum class ChatCommand : std::uint8_t { kNothing, kMessage, kReset, kSystem, kMemory, kSave, kLoad, kHelp, kQuit };

struct ChatLine {
  ChatCommand command = ChatCommand::kNothing;
  std::string argument{};  // the message; what follows the command's name
};

// "//x" is the message "/x"; a blank line is nothing. Error(kUsage) for a command that is not there, or lacks its
// argument.
ChatLine parse_chat_line(std::string_view line);

// One line per command.
std::string chat_help();

}  // namespace jericho::cli
