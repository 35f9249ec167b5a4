// Messages as the lines of a file or pipe: see message_reader.h.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/message_reader.h"

namespace jericho::cli {
namespace {

constexpr int kPollMilliseconds = 100;

class LineReader : public MessageReader {
 public:
  LineReader(int input, Bytes most) : input_(input), most_(most.size()) {}

  TypedMessage read(const std::stop_token& stop) override {
    std::string message;
    bool too_long = false;
    while (const auto line = next_line(stop)) {
      too_long = too_long || message.size() + line->size() > most_;
      if (!too_long) message += *line;
      if (!line->ends_with('\\')) return finished(message, too_long);
      if (!too_long) message.back() = '\n';
    }
    if (stop.stop_requested()) return {TypedMessage::Kind::kInterrupted, {}};
    if (!message.empty() || too_long) return finished(message, too_long);
    return {TypedMessage::Kind::kEnd, {}};
  }

 private:
  [[nodiscard]] TypedMessage finished(std::string& message, bool too_long) const {
    if (too_long) return {TypedMessage::Kind::kRefused, too_long_message({static_cast<std::int64_t>(most_)})};
    while (message.ends_with('\n')) message.pop_back();
    return {TypedMessage::Kind::kText, std::move(message)};
  }

  // Without its end. Of a line longer than a message may be, only so much is kept that this shows, and how it
  // ends.
  std::optional<std::string> next_line(const std::stop_token& stop) {
    std::string line;
    while (true) {
      const std::size_t end = buffered_.find('\n');
      line.append(buffered_, 0, std::min(end, buffered_.size()));
      if (line.size() > most_ + 2) line.erase(most_, line.size() - most_ - 2);
      if (end != std::string::npos) {
        buffered_.erase(0, end + 1);
        if (line.ends_with('\r')) line.pop_back();
        return line;
      }
      buffered_.clear();
      if (!fill(stop)) return line.empty() || stop.stop_requested() ? std::nullopt : std::optional(line);
    }
  }

  bool fill(const std::stop_token& stop) {  // false at the end
    std::array<char, 65536> bytes{};
    while (!stop.stop_requested()) {
      pollfd input = {input_, POLLIN, 0};
      if (poll(&input, 1, kPollMilliseconds) == 0) continue;
      const ssize_t got = ::read(input_, bytes.data(), bytes.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw Error(ErrorKind::kIo, fmt::format("standard input: {}", std::strerror(errno)));
      buffered_.append(bytes.data(), static_cast<std::size_t>(got));
      return got > 0;
    }
    return false;
  }

  int input_;
  std::size_t most_;
  std::string buffered_{};
};

}  // namespace

std::string too_long_message(Bytes most) {
  return fmt::format("a message of more than {} is too long for this context; shorten it, or start with a larger -c",
                     format_bytes(most));
}

std::unique_ptr<MessageReader> make_line_reader(int input, Bytes most) {
  return std::make_unique<LineReader>(input, most);
}

}  // namespace jericho::cli
