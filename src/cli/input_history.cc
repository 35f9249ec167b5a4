// The history of what was typed: see input_history.h.
#include "cli/input_history.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "cli/write_file.h"
#include "formats/input_file.h"
#include "text/unicode.h"

namespace jericho::cli {
namespace {

constexpr Bytes kLargestFile = 4_MiB;

std::string escaped(std::string_view entry) { return replace_all(replace_all(entry, "\\", "\\\\"), "\n", "\\n"); }

std::string unescaped(std::string_view line) {
  std::string entry;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool escape = line[i] == '\\' && i + 1 < line.size();
    if (escape) ++i;
    entry += escape && line[i] == 'n' ? '\n' : line[i];
  }
  return entry;
}

std::optional<std::filesystem::path> folder_from(const char* variable, const char* below) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value != '/') return std::nullopt;  // the specification ignores relative paths
  return std::filesystem::path(value) / below;
}

}  // namespace

std::optional<std::filesystem::path> history_file() {
  auto folder = folder_from("XDG_STATE_HOME", "jericho");
  if (!folder) folder = folder_from("HOME", ".local/state/jericho");
  return folder ? std::optional(*folder / "chat_history") : std::nullopt;
}

InputHistory::InputHistory(std::filesystem::path file) : file_(std::move(file)) {
  std::error_code failed;
  std::filesystem::create_directories(file_.parent_path(), failed);
  if (!std::filesystem::exists(file_, failed)) return;
  try {
    const std::string text = read_whole_file(file_, kLargestFile);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      if (end > at) append_as_utf8(unescaped(std::string_view(text).substr(at, end - at)), entries_.emplace_back());
      at = end + 1;
    }
    if (entries_.size() > kMost) shorten();
  } catch (const Error& error) {
    complain(error.what());
  }
}

void InputHistory::shorten() {
  entries_.erase(entries_.begin(), entries_.end() - static_cast<std::ptrdiff_t>(kMost));
  std::string text;
  for (const std::string& entry : entries_) text += escaped(entry) + "\n";
  write_file_atomically(file_, text);
}

void InputHistory::add(const std::string& entry) {
  if (entry.size() > kLongest || entry.find_first_not_of(" \t\n") == std::string::npos) return;
  if (!entries_.empty() && entries_.back() == entry) return;
  entries_.push_back(entry);
  if (entries_.size() > kMost) entries_.erase(entries_.begin());
  if (file_.empty()) return;
  const std::string line = escaped(entry) + "\n";
  const int fd = open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (!written) complain(fmt::format("{}: {}", file_.string(), std::strerror(errno)));
  if (fd >= 0) close(fd);
}

void InputHistory::complain(const std::string& what) {
  complaint_ = fmt::format("{}; what is typed is not kept", what);
  file_.clear();
}

std::optional<std::string> InputHistory::take_complaint() { return std::exchange(complaint_, std::nullopt); }

}  // namespace jericho::cli
