// The hand scanners and the table of the families that use them. Start at known_pre_tokenizers().
#include "text/pre_tokenizer.h"

#include <algorithm>

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
  [[nodiscard]] bool is_newline(std::size_t at) const { return !at_end(at) && (text[at] == '\n' || text[at] == '\r'); }
  [[nodiscard]] std::size_t after(std::size_t at) const { return at + decode_utf8(text, at).size; }
  [[nodiscard]] std::size_t run(CharClass kind, std::size_t at) const {
    while (is(kind, at)) at = after(at);
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

// Llama 3 (tokenizer.py of the release), and with single digits Qwen 2:
// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <int kMaxDigits>
std::size_t scan_llama3(std::string_view text, std::size_t at) {
  const Walk walk{text};
  if (const std::size_t end = contraction(text, at, Case::kIgnored)) return end;
  if (walk.is(CharClass::kLetter, at)) return walk.run(CharClass::kLetter, at);
  if (walk.is(CharClass::kNumber, at)) {
    std::size_t end = walk.after(at);
    for (int digits = 1; digits < kMaxDigits && walk.is(CharClass::kNumber, end); ++digits) end = walk.after(end);
    return end;
  }
  const std::size_t next = walk.after(at);
  if (!walk.is_newline(at) && walk.is(CharClass::kLetter, next)) return walk.run(CharClass::kLetter, next);
  const std::size_t other = text[at] == ' ' ? next : at;
  if (walk.is(CharClass::kOther, other)) return walk.newlines(walk.run(CharClass::kOther, other));
  const std::size_t space_end = walk.run(CharClass::kSpace, at);
  const std::size_t newline = text.substr(0, space_end).find_last_of("\r\n");
  if (newline != std::string_view::npos && newline >= at) return newline + 1;
  return white_space_end(walk, at);
}

const std::vector<KnownPreTokenizer>& known_pre_tokenizers() {
  static const std::vector<KnownPreTokenizer> table = {
      {{"gpt-2", "phi-2", "olmo", "mpt", "jina-es", "jina-de"},
       {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
        R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
       {scan_gpt2}},
      {{"llama-bpe", "llama3", "llama-v3"},
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
       {scan_llama3<3>},
       false,
       true,
       true},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2"},
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
       {scan_llama3<1>},
       true},
  };
  return table;
}

class ScannerSplitter : public Splitter {
 public:
  explicit ScannerSplitter(Scanner scanner) : scanner_(scanner) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = scanner_(text, at);
      emit(text.substr(at, end - at));
      at = end;
    }
  }

 private:
  Scanner scanner_;
};

std::size_t digits_end(std::string_view text, std::size_t at, bool single) {
  const Walk walk{text};
  if (walk.is(CharClass::kNumber, at)) return single ? walk.after(at) : walk.run(CharClass::kNumber, at);
  while (!walk.at_end(at) && !walk.is(CharClass::kNumber, at)) at = walk.after(at);
  return at;
}

}  // namespace

std::size_t scan_single_digits(std::string_view text, std::size_t at) { return digits_end(text, at, true); }
std::size_t scan_digit_runs(std::string_view text, std::size_t at) { return digits_end(text, at, false); }

const KnownPreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const KnownPreTokenizer& known : known_pre_tokenizers()) {
    if (std::find(known.names.begin(), known.names.end(), name) != known.names.end()) return &known;
  }
  return nullptr;
}

Scanner find_scanner_for_pattern(std::string_view pattern) {
  for (const KnownPreTokenizer& known : known_pre_tokenizers()) {
    if (std::find(known.patterns.begin(), known.patterns.end(), pattern) != known.patterns.end())
      return known.scanners[0];
  }
  return nullptr;
}

std::string known_pre_tokenizer_names() {
  std::string names;
  for (const KnownPreTokenizer& known : known_pre_tokenizers()) {
    for (const std::string_view name : known.names) {
      if (!names.empty()) names += ", ";
      names += name;
    }
  }
  return names;
}

void PreTokenizer::add(Scanner scanner) { stages_.push_back(std::make_unique<ScannerSplitter>(scanner)); }

void PreTokenizer::run(std::size_t stage, std::string_view text, const EmitPiece& emit) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return emit(text);
  if (stage + 1 == stages_.size()) return stages_[stage]->split(text, emit);
  stages_[stage]->split(text, [&](std::string_view piece) { run(stage + 1, piece, emit); });
}

}  // namespace jericho
