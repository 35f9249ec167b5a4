// For tests only: reproducible texts that visit what tokenizers treat differently.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "text/unicode.h"

namespace jericho {

class RandomText {
 public:
  explicit RandomText(std::uint32_t seed) : random_(seed) {}

  // Up to `most` code points: half from a list of interesting ones, the rest from all planes.
  std::string unicode(int most) {
    static constexpr std::array<std::string_view, 48> kInteresting = {
        " ",  " ",  "  ", "\n",     "\r",     "\r\n",   "\t",      "'s",     "'S", "'ll",  "'Re", "'",
        "a",  "b",  "Z",  "the",    "0",      "7",      "42",      "½",      "²",  "٣",    ".",   "!",
        "(",  "_",  "$",  "€",      "—",      "é",      "e\u0301", "ß",      "ſ",  "'ſ",   "Ω",   "я",
        "語", "한", "ا",  "\u200B", "\u00A0", "\u3000", "\u2028",  "\u0085", "▁",  "🦙", "🚀",   "\u200D"};
    std::string text;
    for (int left = uniform(most + 1); left > 0; --left) {
      if (uniform(2) == 0) {
        text += kInteresting[static_cast<std::size_t>(uniform(static_cast<int>(kInteresting.size())))];
      } else {
        append(code_point(), text);
      }
    }
    return without_metaspace(text);
  }

  std::string bytes(int most) {
    std::string text;
    for (int left = uniform(most + 1); left > 0; --left) text.push_back(static_cast<char>(uniform(256)));
    return without_metaspace(text);
  }

  int uniform(int below) { return static_cast<int>(random_() % static_cast<std::uint32_t>(below)); }

 private:
  char32_t code_point() {
    constexpr std::array<int, 4> kLimits = {0x80, 0x800, 0x10000, 0x110000};
    const auto code = static_cast<char32_t>(uniform(kLimits[static_cast<std::size_t>(uniform(4))]));
    return code >= 0xD800 && code < 0xE000 ? U'x' : code;
  }
  static void append(char32_t code, std::string& text) {
    const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3F))); };
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
      text.push_back(static_cast<char>(0xC0 | (code >> 6)));
      tail(0);
    } else if (code < 0x10000) {
      text.push_back(static_cast<char>(0xE0 | (code >> 12)));
      tail(6);
      tail(0);
    } else {
      text.push_back(static_cast<char>(0xF0 | (code >> 18)));
      tail(12);
      tail(6);
      tail(0);
    }
  }
  // U+2581 and the space are one to SentencePiece, so a text that holds it cannot come back.
  static std::string without_metaspace(const std::string& text) { return replace_all(text, kMetaspace, "x"); }

  std::mt19937 random_;
};

}  // namespace jericho
