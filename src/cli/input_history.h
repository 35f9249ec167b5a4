// What was typed before, kept from one run to the next in a file with one entry a line; \n and \\ stand for a line
// break and a backslash. A file that cannot be read or written costs the history, never the program.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jericho::cli {

// $XDG_STATE_HOME/jericho/chat_history, else ~/.local/state/jericho/chat_history (XDG Base Directory Specification
// 0.8); nothing when neither is known.
std::optional<std::filesystem::path> history_file();

// One thread.
class InputHistory {
 public:
  static constexpr std::size_t kMost = 500;      // entries kept
  static constexpr std::size_t kLongest = 2048;  // bytes of an entry

  InputHistory() = default;  // in memory alone
  explicit InputHistory(std::filesystem::path file);

  // As the newest entry; not when it is blank, too long or repeats the one before.
  void add(const std::string& entry);
  [[nodiscard]] const std::vector<std::string>& entries() const { return entries_; }  // oldest first
  // What went wrong with the file, once.
  std::optional<std::string> take_complaint();

 private:
  void complain(const std::string& what);
  void shorten();

  std::filesystem::path file_{};  // empty: none
  std::vector<std::string> entries_{};
  std::optional<std::string> complaint_{};
};

}  // namespace jericho::cli
