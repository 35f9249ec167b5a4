// Start at scan_gpt2() for the cuts that cover a text, at isolate() for those that set pieces off.
#include "text/scanners.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/unicode.h"

namespace jericho {
namespace {

// Walks forward over a text by class. `class_at` of the end is none of the classes.
struct Walk {
  std::string_view text;

  [[nodiscard]] bool at_end(std::size_t at) const { return at >= text.size(); }
  [[nodiscard]] bool is(CharClass kind, std::size_t at) const {
    return !at_end(at) && char_class(decode_utf8(text, at).value) == kind;
  }
  [[nodiscard]] bool in(Categories set, std::size_t at) const {
    return !at_end(at) && (category(decode_utf8(text, at).value) & set) != 0;
  }
  [[nodiscard]] bool is_newline(std::size_t at) const { return !at_end(at) && (text[at] == '\n' || text[at] == '\r'); }
  [[nodiscard]] std::size_t after(std::size_t at) const { return at + decode_utf8(text, at).size; }
  [[nodiscard]] std::size_t run(CharClass kind, std::size_t at) const {
    while (is(kind, at)) at = after(at);
    return at;
  }
  [[nodiscard]] std::size_t run_in(Categories set, std::size_t at) const {
    while (in(set, at)) at = after(at);
    return at;
  }
  [[nodiscard]] std::size_t newlines(std::size_t at) const {
    while (is_newline(at)) ++at;
    return at;
  }
};

// 's 't 're 've 'm 'll 'd behind the apostrophe at `at`; 0 if none. Ignoring case includes U+017F, whose capital is S.
enum class Case { kExact, kIgnored };
std::size_t contraction(std::string_view text, std::size_t at, Case letter_case) {
  if (text[at] != '\'' || at + 1 >= text.size()) return 0;
  const auto lower = [&](std::size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return letter_case == Case::kIgnored && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = lower(at + 1);
  const char second = lower(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return at + 3;
  if (letter_case == Case::kIgnored && text.substr(at + 1).starts_with("\xC5\xBF")) return at + 3;
  return 0;
}

// \s+(?!\S)|\s+ : a run of white space leaves its last character to the word behind it, if there is one.
std::size_t white_space_end(const Walk& walk, std::size_t at) {
  const std::size_t end = walk.run(CharClass::kSpace, at);
  if (walk.at_end(end)) return end;
  const std::size_t last = end - decode_utf8_before(walk.text, end).size;
  return last > at ? last : end;
}

// \p{N}{1,most} from `at`, which is a digit.
std::size_t digits_end(const Walk& walk, std::size_t at, int most) {
  std::size_t end = walk.after(at);
  for (int digits = 1; digits < most && walk.is(CharClass::kNumber, end); ++digits) end = walk.after(end);
  return end;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ from `at`, which is white space.
std::size_t lines_or_space_end(const Walk& walk, std::size_t at) {
  const std::size_t newline = walk.text.substr(0, walk.run(CharClass::kSpace, at)).find_last_of("\r\n");
  if (newline != std::string_view::npos && newline >= at) return newline + 1;
  return white_space_end(walk, at);
}

// Llama 3 (tokenizer.py of the release):
// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// kWord is \p{L}, or for Qwen 3.5 [\p{L}\p{M}], which [^\s\p{L}\p{N}] then excludes too.
template <int kMostDigits, Categories kWord>
std::size_t scan_words(std::string_view text, std::size_t at) {
  const Walk walk{text};
  if (const std::size_t end = contraction(text, at, Case::kIgnored)) return end;
  const auto is_other = [&](std::size_t i) { return walk.is(CharClass::kOther, i) && !walk.in(kWord, i); };
  if (walk.in(kWord, at)) return walk.run_in(kWord, at);
  if (walk.is(CharClass::kNumber, at)) return digits_end(walk, at, kMostDigits);
  const std::size_t next = walk.after(at);
  if (!walk.is_newline(at) && walk.in(kWord, next)) return walk.run_in(kWord, next);
  std::size_t other = text[at] == ' ' ? next : at;
  if (!is_other(other)) return lines_or_space_end(walk, at);
  while (is_other(other)) other = walk.after(other);
  return walk.newlines(other);
}

// Letters without case, and marks, are both: they end a run of capitals or continue one of small letters.
constexpr Categories kCapital = kLu | kLt | kLm | kLo | kMark;
constexpr Categories kSmall = kLl | kLm | kLo | kMark;

// [kCapital]*[kSmall]+ from `at` as a backtracking matcher finds it; 0 if there is none.
std::size_t small_word_end(const Walk& walk, std::size_t at) {
  std::size_t end = 0;
  for (; walk.in(kCapital, at); at = walk.after(at)) {
    if (walk.in(kSmall, at)) end = walk.after(at);
  }
  return walk.in(kSmall, at) ? walk.run_in(kSmall, at) : end;
}

// [kCapital]+[kSmall]* from `at`; 0 if there is none.
std::size_t capital_word_end(const Walk& walk, std::size_t at) {
  const std::size_t end = walk.run_in(kCapital, at);
  return end > at ? walk.run_in(kSmall, end) : 0;
}

// GPT-4o (o200k_base of tiktoken), with P = [^\r\n\p{L}\p{N}]? and 's = (?i:'s|'t|'re|'ve|'m|'ll|'d)?:
// P[kCapital]*[kSmall]+'s|P[kCapital]+[kSmall]*'s|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
enum class Suffix { kNone, kContraction };
template <int kMostDigits, Suffix kSuffix>
std::size_t scan_by_case(std::string_view text, std::size_t at) {
  const Walk walk{text};
  const std::size_t next = walk.after(at);
  const bool prefixes = !walk.is_newline(at) && !walk.in(kLetter | kNumber, at);
  for (const auto word_end : {small_word_end, capital_word_end}) {
    std::size_t end = prefixes ? word_end(walk, next) : 0;
    if (end == 0) end = word_end(walk, at);
    if (end == 0) continue;
    const std::size_t suffix =
        kSuffix == Suffix::kContraction && !walk.at_end(end) ? contraction(text, end, Case::kIgnored) : 0;
    return std::max(end, suffix);
  }
  if (walk.is(CharClass::kNumber, at)) return digits_end(walk, at, kMostDigits);
  std::size_t other = text[at] == ' ' ? next : at;
  if (!walk.is(CharClass::kOther, other)) return lines_or_space_end(walk, at);
  other = walk.run(CharClass::kOther, other);
  while (walk.is_newline(other) || (!walk.at_end(other) && text[other] == '/')) ++other;
  return other;
}

// DeepSeek-V3 (its tokenizer.json):
// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// Numbers and controls may be in none. Returns `at` then.
std::size_t match_deepseek3(std::string_view text, std::size_t at) {
  const Walk walk{text};
  const auto is_ascii_letter = [&](std::size_t i) {
    return !walk.at_end(i) && static_cast<unsigned char>(text[i]) < 0x80 && walk.in(kLetter, i);
  };
  const std::size_t next = walk.after(at);
  if (static_cast<unsigned char>(text[at]) < 0x80 && walk.in(kPunctuation | kSymbol, at) && is_ascii_letter(next)) {
    std::size_t end = next;
    while (is_ascii_letter(end)) ++end;
    return end;
  }
  constexpr Categories kWord = kLetter | kMark;
  if (walk.in(kWord, at)) return walk.run_in(kWord, at);
  if (!walk.is_newline(at) && !walk.in(kPunctuation | kSymbol, at) && walk.in(kWord, next))
    return walk.run_in(kWord, next);
  const std::size_t other = text[at] == ' ' ? next : at;
  if (walk.in(kPunctuation | kSymbol, other)) return walk.newlines(walk.run_in(kPunctuation | kSymbol, other));
  return walk.is(CharClass::kSpace, at) ? lines_or_space_end(walk, at) : at;
}

// What stands between the brackets of a character class: U"A-Za-zµ".
template <std::size_t kSize>
class CharSet {
 public:
  explicit constexpr CharSet(const char32_t (&text)[kSize]) {
    for (std::size_t i = 0; i + 1 < kSize; ++count_) {
      const bool range = i + 3 < kSize && text[i + 1] == U'-';
      ranges_[count_] = {text[i], text[range ? i + 2 : i]};
      i += range ? 3 : 1;
    }
    std::sort(ranges_.begin(), ranges_.begin() + count_);
  }
  [[nodiscard]] constexpr bool contains(char32_t code) const {
    const auto end = ranges_.begin() + count_;
    const auto found = std::lower_bound(ranges_.begin(), end, code,
                                        [](const Range& range, char32_t wanted) { return range.last < wanted; });
    return found != end && found->first <= code;
  }

 private:
  struct Range {
    char32_t first = 0;
    char32_t last = 0;
    constexpr bool operator<(const Range& other) const { return first < other.first; }
  };
  std::array<Range, kSize> ranges_{};
  std::ptrdiff_t count_ = 0;
};

// DeepSeek-LLM's tokenizer.json lists the letters of scripts that have upper and lower case.
constexpr CharSet kCasedLetters(
    U"A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373"
    U"\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F"
    U"\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77"
    U"\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D"
    U"\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB"
    U"\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128"
    U"\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4"
    U"\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF"
    U"\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3"
    U"\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943");
constexpr CharSet kWidePunctuation(U"!-/:-~！-／：-～‘-‟　-。");
constexpr CharSet kCjk(U"一-龥ࠀ-一가-\uD7FF");
constexpr CharSet kHanAndKana(U"一-龥぀-ゟ゠-ヿ");

using InClass = bool (*)(char32_t);
bool is_number(char32_t code) { return char_class(code) == CharClass::kNumber; }
bool is_ascii_digit(char32_t code) { return code >= U'0' && code <= U'9'; }
bool is_newline(char32_t code) { return code == U'\r' || code == U'\n'; }
bool is_letter(char32_t code) { return char_class(code) == CharClass::kLetter; }
bool is_punctuation(char32_t code) { return (category(code) & kPunctuation) != 0; }
bool is_cased(char32_t code) { return kCasedLetters.contains(code); }
bool is_wide_punctuation(char32_t code) { return kWidePunctuation.contains(code); }
bool is_cjk(char32_t code) { return kCjk.contains(code); }
bool is_han_or_kana(char32_t code) { return kHanAndKana.contains(code); }
bool is_symbol_but_backtick(char32_t code) {
  return is_punctuation(code) ||
         (code < 0x80 && std::string_view("$+<=>^~|").find(static_cast<char>(code)) != std::string_view::npos);
}
bool is_symbol(char32_t code) { return code == U'`' || is_symbol_but_backtick(code); }

// Between kLeast and kMost characters of a class, behind one white space if kSpace allows it. Returns `at` for none.
constexpr int kAny = 1 << 30;
enum class LeadingSpace { kNo, kOne };
template <InClass kInClass, int kLeast, int kMost, LeadingSpace kSpace>
std::size_t match_run(std::string_view text, std::size_t at) {
  const Walk walk{text};
  const auto inside = [&](std::size_t i) { return !walk.at_end(i) && kInClass(decode_utf8(text, i).value); };
  std::size_t end = at;
  if (kSpace == LeadingSpace::kOne && walk.is(CharClass::kSpace, at) && inside(walk.after(at))) end = walk.after(at);
  int count = 0;
  for (; count < kMost && inside(end); ++count) end = walk.after(end);
  return count >= kLeast ? end : at;
}

// Cuts at the matches: a match, or what lies before the next one.
template <Scanner kMatch>
std::size_t isolate(std::string_view text, std::size_t at) {
  const Walk walk{text};
  if (const std::size_t end = kMatch(text, at); end > at) return end;
  do at = walk.after(at);
  while (!walk.at_end(at) && kMatch(text, at) == at);
  return at;
}

template <InClass kInClass, LeadingSpace kSpace = LeadingSpace::kNo, int kMost = kAny, int kLeast = 1>
constexpr Scanner isolate_runs = isolate<match_run<kInClass, kLeast, kMost, kSpace>>;

}  // namespace

// GPT-2 (Radford et al. 2019, encoder.py):
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t scan_gpt2(std::string_view text, std::size_t at) {
  const Walk walk{text};
  if (const std::size_t end = contraction(text, at, Case::kExact)) return end;
  const std::size_t word = text[at] == ' ' ? at + 1 : at;
  for (const CharClass kind : {CharClass::kLetter, CharClass::kNumber, CharClass::kOther}) {
    if (walk.is(kind, word)) return walk.run(kind, word);
  }
  return white_space_end(walk, at);
}

std::size_t scan_llama3(std::string_view text, std::size_t at) { return scan_words<3, kLetter>(text, at); }
std::size_t scan_qwen2(std::string_view text, std::size_t at) { return scan_words<1, kLetter>(text, at); }
std::size_t scan_qwen35(std::string_view text, std::size_t at) { return scan_words<1, kLetter | kMark>(text, at); }
std::size_t scan_gpt4o(std::string_view text, std::size_t at) {
  return scan_by_case<3, Suffix::kContraction>(text, at);
}
std::size_t scan_tekken(std::string_view text, std::size_t at) { return scan_by_case<1, Suffix::kNone>(text, at); }

std::size_t scan_single_digits(std::string_view text, std::size_t at) {
  return isolate_runs<is_number, LeadingSpace::kNo, 1>(text, at);
}
std::size_t scan_three_digits(std::string_view text, std::size_t at) {
  return isolate_runs<is_number, LeadingSpace::kNo, 3>(text, at);
}
std::size_t scan_digit_runs(std::string_view text, std::size_t at) { return isolate_runs<is_number>(text, at); }
std::size_t scan_ascii_triples(std::string_view text, std::size_t at) {
  return isolate_runs<is_ascii_digit, LeadingSpace::kNo, 3, 3>(text, at);
}
std::size_t scan_newlines(std::string_view text, std::size_t at) {
  return isolate_runs<is_newline, LeadingSpace::kNo, 1>(text, at);
}
std::size_t scan_cased_words(std::string_view text, std::size_t at) {
  return isolate_runs<is_cased, LeadingSpace::kOne>(text, at);
}
std::size_t scan_wide_punctuation(std::string_view text, std::size_t at) {
  return isolate_runs<is_wide_punctuation, LeadingSpace::kOne>(text, at);
}
std::size_t scan_cjk(std::string_view text, std::size_t at) { return isolate_runs<is_cjk>(text, at); }
std::size_t scan_han_and_kana(std::string_view text, std::size_t at) { return isolate_runs<is_han_or_kana>(text, at); }
std::size_t scan_spaced_letters(std::string_view text, std::size_t at) {
  return isolate_runs<is_letter, LeadingSpace::kOne>(text, at);
}
std::size_t scan_spaced_punctuation(std::string_view text, std::size_t at) {
  return isolate_runs<is_punctuation, LeadingSpace::kOne>(text, at);
}
std::size_t scan_symbols(std::string_view text, std::size_t at) { return isolate_runs<is_symbol>(text, at); }
std::size_t scan_symbols_but_backtick(std::string_view text, std::size_t at) {
  return isolate_runs<is_symbol_but_backtick>(text, at);
}
std::size_t scan_deepseek3(std::string_view text, std::size_t at) { return isolate<match_deepseek3>(text, at); }

std::size_t scan_word_runs(std::string_view text, std::size_t at) {
  const Walk walk{text};
  const bool is_word = is_regex_word(decode_utf8(text, at).value);
  while (!walk.at_end(at) && is_regex_word(decode_utf8(text, at).value) == is_word) at = walk.after(at);
  return at;
}

std::size_t scan_trailing_space(std::string_view text, std::size_t at) {
  std::size_t trailing = text.size();
  while (trailing > at) {
    const CodePoint last = decode_utf8_before(text, trailing);
    if (!is_white_space(last.value)) break;
    trailing -= last.size;
  }
  return trailing > at ? trailing : text.size();
}

}  // namespace jericho
