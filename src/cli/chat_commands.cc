// The commands of a chat: see chat_commands.h.
#include "cli/chat_commands.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho::cli {
namespace {

enum class Argument : std::uint8_t { kNone, kOptional, kNeeded };

struct Described {
  std::string_view name;
  ChatCommand command;
  Argument argument;
  std::string_view argument_name;
  std::string_view help;
};

constexpr std::array<Described, 7> kCommands = {{
    {"/reset", ChatCommand::kReset, Argument::kNone, "", "forget the conversation, keep the system message"},
    {"/system", ChatCommand::kSystem, Argument::kOptional, "TEXT",
     "set the system message (none: remove it) and start anew"},
    {"/memory", ChatCommand::kMemory, Argument::kNone, "", "where every byte is, and how full the context"},
    {"/save", ChatCommand::kSave, Argument::kNeeded, "FILE", "write the conversation as JSON"},
    {"/load", ChatCommand::kLoad, Argument::kNeeded, "FILE", "go on with a saved conversation"},
    {"/help", ChatCommand::kHelp, Argument::kNone, "", "this list"},
    {"/quit", ChatCommand::kQuit, Argument::kNone, "", "end, as Ctrl-D does"},
}};

constexpr std::string_view kBlanks = " \t\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

}  // namespace

ChatLine parse_chat_line(std::string_view line) {
  if (line.starts_with("//")) return {ChatCommand::kMessage, std::string(line.substr(1))};
  if (trimmed(line).empty()) return {};
  if (!line.starts_with('/')) return {ChatCommand::kMessage, std::string(line)};
  const std::string_view name = line.substr(0, line.find_first_of(kBlanks));
  const std::string_view argument = trimmed(line.substr(name.size()));
  for (const Described& each : kCommands) {
    if (each.name != name) continue;
    if (each.argument == Argument::kNeeded && argument.empty())
      throw Error(ErrorKind::kUsage, fmt::format("{} needs the name of a file: {} {}", name, name, each.argument_name));
    if (each.argument == Argument::kNone && !argument.empty())
      throw Error(ErrorKind::kUsage, fmt::format("{} stands alone; found '{}' after it", name, argument));
    return {each.command, std::string(argument)};
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("there is no command {}; /help lists them, and // sends a message that begins with /", name));
}

std::string chat_help() {
  std::string text;
  for (const Described& each : kCommands)
    text += fmt::format("{:<14}{}\n", fmt::format("{} {}", each.name, each.argument_name), each.help);
  return text +
         "A message that begins with / is written with //. Alt-Enter or \\ at the end of a line begins a new line; "
         "pasted\n"
         "lines are one message. Ctrl-C stops an answer.\n";
}

}  // namespace jericho::cli
