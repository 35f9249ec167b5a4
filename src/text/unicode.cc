// UTF-8, categories and normalization forms over utf8proc. Start at decode_utf8().
#include "text/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace jericho {
namespace {

constexpr std::array<CharClass, 128> kAsciiClass = [] {
  std::array<CharClass, 128> table{};
  for (int c = 0; c < 128; ++c) {
    auto& entry = table[static_cast<std::size_t>(c)];
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) entry = CharClass::kLetter;
    if (c >= '0' && c <= '9') entry = CharClass::kNumber;
    if (c == ' ' || (c >= 9 && c <= 13)) entry = CharClass::kSpace;
  }
  return table;
}();

unsigned char byte_at(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text[at]); }

void append_normalized(std::string_view valid, int form, std::string& out) {
  utf8proc_uint8_t* result = nullptr;
  const auto flags = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | form);
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(valid.data());
  const auto size = utf8proc_map(bytes, static_cast<utf8proc_ssize_t>(valid.size()), &result, flags);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (size < 0) {
    out += valid;  // text that cannot be normalized is taken as it stands
    return;
  }
  out.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

// `first` is the lowest code point that may change or combine.
std::string to_form(std::string_view text, int form, char32_t first) {
  std::string out;
  out.reserve(text.size());
  std::size_t run = 0;  // start of the valid text not yet written
  bool may_change = false;
  const auto flush = [&](std::size_t end) {
    const std::string_view valid = text.substr(run, end - run);
    if (may_change) {
      append_normalized(valid, form, out);
    } else {
      out += valid;
    }
    may_change = false;
  };
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = decode_utf8(text, at);
    if (!code.valid) {
      flush(at);
      out += text.substr(at, code.size);
      run = at + code.size;
    } else if (code.value >= first) {
      may_change = true;
    }
    at += code.size;
  }
  flush(text.size());
  return out;
}

}  // namespace

// Well-formed byte sequences: The Unicode Standard 15, table 3-7.
CodePoint decode_utf8(std::string_view text, std::size_t at) {
  const unsigned char first = byte_at(text, at);
  if (first < 0x80) return {first, 1, true, false};
  int more = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  char32_t value = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    more = 1;
    value = first & 0x1Fu;
  } else if ((first & 0xF0u) == 0xE0) {
    more = 2;
    value = first & 0x0Fu;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    more = 3;
    value = first & 0x07u;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {0xFFFD, 1, false, false};
  }
  std::uint8_t size = 1;
  for (; more > 0; --more, ++size) {
    if (at + size >= text.size()) return {0xFFFD, size, false, true};
    const unsigned char next = byte_at(text, at + size);
    if (next < low || next > high) return {0xFFFD, size, false, false};
    value = (value << 6) | (next & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {value, size, true, false};
}

CodePoint decode_utf8_before(std::string_view text, std::size_t end) {
  for (std::size_t size = 1; size <= 4 && size <= end; ++size) {
    if ((byte_at(text, end - size) & 0xC0u) == 0x80) continue;
    const CodePoint code = decode_utf8(text.substr(0, end), end - size);
    if (code.valid && code.size == size) return code;
    break;
  }
  return {0xFFFD, 1, false, false};
}

Categories category(char32_t code) {
  static_assert(kLu == 1u << UTF8PROC_CATEGORY_LU && kLo == 1u << UTF8PROC_CATEGORY_LO);
  static_assert(kMark == (1u << UTF8PROC_CATEGORY_MN | 1u << UTF8PROC_CATEGORY_MC | 1u << UTF8PROC_CATEGORY_ME));
  static_assert(kNumber == (1u << UTF8PROC_CATEGORY_ND | 1u << UTF8PROC_CATEGORY_NL | 1u << UTF8PROC_CATEGORY_NO));
  static_assert(kPunctuation == (2u << UTF8PROC_CATEGORY_PO) - (1u << UTF8PROC_CATEGORY_PC));
  static_assert(kSymbol == (2u << UTF8PROC_CATEGORY_SO) - (1u << UTF8PROC_CATEGORY_SM));
  return 1u << utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

bool is_white_space(char32_t code) {
  if (code < 128) return kAsciiClass[code] == CharClass::kSpace;
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

CharClass char_class(char32_t code) {
  if (code < 128) return kAsciiClass[code];
  if (is_white_space(code)) return CharClass::kSpace;
  const Categories kind = category(code);
  return (kind & kLetter) != 0 ? CharClass::kLetter : (kind & kNumber) != 0 ? CharClass::kNumber : CharClass::kOther;
}

bool is_word(char32_t code) { return (category(code) & (kLetter | kNumber | kMark | 1u << UTF8PROC_CATEGORY_PC)) != 0; }

bool is_regex_word(char32_t code) {
  constexpr Categories kAlways =
      kLetter | kMark | 1u << UTF8PROC_CATEGORY_ND | 1u << UTF8PROC_CATEGORY_NL | 1u << UTF8PROC_CATEGORY_PC;
  if ((category(code) & kAlways) != 0) return true;
  return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||  // letters in circles and squares
         (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
         (code >= 0x1F170 && code <= 0x1F189);
}

bool is_bert_punctuation(char32_t code) {
  const Categories kind = category(code);
  return (kind & kPunctuation) != 0 || (code < 0x80 && (kind & kSymbol) != 0);
}

std::string to_nfc(std::string_view text) { return to_form(text, UTF8PROC_COMPOSE, 0x300); }
std::string to_nfd(std::string_view text) { return to_form(text, UTF8PROC_DECOMPOSE, 0xC0); }
std::string to_nfkc(std::string_view text) { return to_form(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0xA0); }
std::string to_nfkd(std::string_view text) { return to_form(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0xA0); }

void append_utf8(char32_t code, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
}

void append_lower(char32_t code, std::string& out) {
  append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))), out);
  if (code == 0x130) append_utf8(0x307, out);  // SpecialCasing.txt: the one unconditional mapping to two
}

std::size_t grapheme_end(std::string_view text, std::size_t at) {
  CodePoint last = decode_utf8(text, at);
  at += last.size;
  utf8proc_int32_t state = 0;
  while (last.valid && at < text.size()) {
    const CodePoint next = decode_utf8(text, at);
    if (!next.valid || utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last.value),
                                                        static_cast<utf8proc_int32_t>(next.value), &state))
      break;
    at += next.size;
    last = next;
  }
  return at;
}

void append_as_utf8(std::string_view bytes, std::string& out) {
  for (std::size_t at = 0; at < bytes.size();) {
    const CodePoint code = decode_utf8(bytes, at);
    out += code.valid ? bytes.substr(at, code.size) : kReplacementCharacter;
    at += code.size;
  }
}

std::size_t complete_utf8_prefix(std::string_view bytes) {
  const std::size_t first = bytes.size() > 3 ? bytes.size() - 3 : 0;
  for (std::size_t at = first; at < bytes.size(); ++at) {
    if (byte_at(bytes, at) < 0xC0) continue;
    if (decode_utf8(bytes, at).cut_off) return at;
  }
  return bytes.size();
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  for (std::size_t hit = text.find(from); hit != std::string_view::npos; hit = text.find(from, at)) {
    out += text.substr(at, hit - at);
    out += to;
    at = hit + from.size();
  }
  out += text.substr(at);
  return out;
}

}  // namespace jericho
