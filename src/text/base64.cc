// Four characters are three bytes.
#include "text/base64.h"

#include <cstdint>

namespace jericho {

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const bool last = at + 4 == text.size();
    const int padding = last ? (text[at + 3] == '=') + (text[at + 2] == '=' && text[at + 3] == '=') : 0;
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = text[at + i];
      std::uint32_t digit = 0;
      if (c >= 'A' && c <= 'Z') {
        digit = static_cast<std::uint32_t>(c - 'A');
      } else if (c >= 'a' && c <= 'z') {
        digit = static_cast<std::uint32_t>(c - 'a') + 26;
      } else if (c >= '0' && c <= '9') {
        digit = static_cast<std::uint32_t>(c - '0') + 52;
      } else if (c == '+' || c == '/') {
        digit = c == '+' ? 62 : 63;
      } else if (c != '=' || static_cast<int>(4 - i) > padding) {
        return std::nullopt;
      }
      bits = bits << 6 | digit;
    }
    for (int i = 0; i < 3 - padding; ++i) bytes.push_back(static_cast<char>((bits >> (16 - 8 * i)) & 0xFF));
  }
  return bytes;
}

}  // namespace jericho
