// Names read from a file, made fit for an error message: in quotes, at most 80 bytes, everything but printable ASCII
// escaped, so that a message is always valid UTF-8 and cannot steer a terminal.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace jericho {

inline std::string printable(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + (text.size() > 80 ? "...'" : "'");
}

}  // namespace jericho
