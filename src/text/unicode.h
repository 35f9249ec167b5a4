// What tokenizers need of Unicode: UTF-8 that may be broken, the general categories their patterns name, and the
// normalization forms. Categories and composition come from utf8proc (Unicode 15); White_Space is the property of
// PropList.txt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace jericho {

// One code point of a text. Broken bytes decode to U+FFFD with valid == false and the length of the maximal subpart
// (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts"), so that a walk over any bytes ends and loses
// none.
struct CodePoint {
  char32_t value = 0;
  std::uint8_t size = 0;  // bytes, 1 to 4
  bool valid = false;
  bool cut_off = false;  // invalid only because the text ends here: more bytes could complete it
};

CodePoint decode_utf8(std::string_view text, std::size_t at);  // at < text.size()

// The code point that ends at `end` (0 < end), whole and valid or one broken byte.
CodePoint decode_utf8_before(std::string_view text, std::size_t end);

// The distinction the pre-tokenizers of byte-level models make. White space comes first: U+0085 is both space and
// control.
enum class CharClass : std::uint8_t { kOther, kLetter, kNumber, kSpace };
CharClass char_class(char32_t code);

// General categories as a set: one bit each, at the place of utf8proc's number.
using Categories = std::uint32_t;
inline constexpr Categories kLu = 1u << 1, kLl = 1u << 2, kLt = 1u << 3, kLm = 1u << 4, kLo = 1u << 5;
inline constexpr Categories kLetter = kLu | kLl | kLt | kLm | kLo;
inline constexpr Categories kMn = 1u << 6;
inline constexpr Categories kMark = 7u << 6;                   // Mn Mc Me
inline constexpr Categories kNumber = 7u << 9;                 // Nd Nl No
inline constexpr Categories kPunctuation = 0x7Fu << 12;        // Pc Pd Ps Pe Pi Pf Po
inline constexpr Categories kSymbol = 0xFu << 19;              // Sm Sc Sk So
inline constexpr Categories kOtherCategory = 1u | 0xFu << 26;  // Cn Cc Cf Cs Co
Categories category(char32_t code);  // one bit; of code points that are none, no bit of the sets above

bool is_white_space(char32_t code);
bool is_word(char32_t code);        // letters, marks, numbers, connector punctuation
bool is_regex_word(char32_t code);  // \w of Unicode's regular expressions (UTS 18, annex C): no fractions, but ZWJ
bool is_bert_punctuation(char32_t code);  // general category P, and all symbols of ASCII

// Normalization forms. Broken bytes stay as they are.
std::string to_nfc(std::string_view text);
std::string to_nfd(std::string_view text);
std::string to_nfkc(std::string_view text);
std::string to_nfkd(std::string_view text);

void append_utf8(char32_t code, std::string& out);   // of a code point that is no surrogate
void append_lower(char32_t code, std::string& out);  // what toLowercase() makes of it: for U+0130 two code points

// The end of the extended grapheme cluster that begins at `at` < text.size() (Unicode 15, annex 29). A broken byte is
// one of its own.
std::size_t grapheme_end(std::string_view text, std::size_t at);

// Appends `bytes` with U+FFFD in place of every maximal broken subpart.
void append_as_utf8(std::string_view bytes, std::string& out);

// How many leading bytes of `bytes` can be judged already: all but a tail that more bytes could complete.
std::size_t complete_utf8_prefix(std::string_view bytes);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

// Replaces every occurrence of `from`, which is not empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace jericho
