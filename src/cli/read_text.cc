// Reading texts: see read_text.h.
#include "cli/read_text.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho::cli {

std::string read_text_file(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(ErrorKind::kInput, fmt::format("{}: is a directory, expected a text file", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kInput, fmt::format("{}: {}", path, std::strerror(errno)));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string read_standard_input(const std::stop_token& stop) {
  constexpr int kPollMilliseconds = 100;
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while reading standard input");
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, kPollMilliseconds) == 0) continue;
    const ssize_t got = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(ErrorKind::kIo, fmt::format("standard input: {}", std::strerror(errno)));
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

bool standard_input_is_terminal() { return isatty(STDIN_FILENO) == 1; }

}  // namespace jericho::cli
