// The two tables. Names and what goes with them are those of llama.cpp's llama-vocab.cpp; patterns are those of the
// models' own tokenizer.json.
#include "text/known_pre_tokenizers.h"

#include <algorithm>

namespace jericho {
namespace {

const std::vector<KnownPreTokenizer>& known_pre_tokenizers() {
  static const std::vector<KnownPreTokenizer> table = {
      {.names = {"gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling", "exaone4", "gigachat",
                 "a.x-4.0", "mellum", "modern-bert", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"},
       .scanners = {scan_gpt2}},
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
                 "jina-v5-nano"},
       .scanners = {scan_llama3},
       .ignore_merges = true,
       .adds_bos = true},
      {.names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, .scanners = {scan_llama3}},
      {.names = {"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"}, .scanners = {scan_qwen2}, .nfc = true},
      {.names = {"hunyuan", "grok-2", "solar-open"}, .scanners = {scan_qwen2}},
      {.names = {"qwen35"}, .scanners = {scan_qwen35}, .nfc = true},
      {.names = {"gpt-4o", "llama4", "kanana2", "minimax-m2"}, .scanners = {scan_gpt4o}},
      {.names = {"tekken"}, .scanners = {scan_tekken}, .ignore_merges = true, .adds_bos = true},
      {.names = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"},
       .scanners = {scan_single_digits, scan_gpt2}},
      {.names = {"falcon"}, .scanners = {scan_symbols, scan_gpt2, scan_ascii_triples}},
      {.names = {"default"}, .scanners = {scan_symbols_but_backtick, scan_gpt2, scan_digit_runs, scan_ascii_triples}},
      {.names = {"deepseek-llm"},
       .scanners = {scan_newlines, scan_cased_words, scan_wide_punctuation, scan_trailing_space, scan_cjk,
                    scan_digit_runs}},
      {.names = {"deepseek-coder"},
       .scanners = {scan_newlines, scan_spaced_letters, scan_spaced_punctuation, scan_cjk, scan_single_digits}},
      {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm"},
       .scanners = {scan_three_digits, scan_han_and_kana, scan_deepseek3}},
  };
  return table;
}

}  // namespace

const std::vector<KnownCut>& known_cuts() {
  using Covers = KnownCut::Covers;
  static const std::vector<KnownCut> table = {
      {scan_gpt2,
       Covers::kText,
       {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
        R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
      {scan_llama3,
       Covers::kText,
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {scan_qwen2,
       Covers::kText,
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {scan_qwen35,
       Covers::kText,
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {scan_gpt4o,
       Covers::kText,
       {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {scan_tekken,
       Covers::kText,
       {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {scan_single_digits, Covers::kMatches, {R"(\p{N})"}},
      {scan_three_digits, Covers::kMatches, {R"(\p{N}{1,3})"}},
      {scan_digit_runs, Covers::kMatches, {R"(\p{N}+)"}},
      {scan_ascii_triples, Covers::kMatches, {"[0-9][0-9][0-9]"}},
      {scan_newlines, Covers::kMatches, {"[\r\n]", R"([\r\n])"}},
      {scan_cased_words, Covers::kMatches, {}},
      {scan_wide_punctuation, Covers::kMatches, {R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)"}},
      {scan_trailing_space, Covers::kMatches, {}},
      {scan_cjk, Covers::kMatches, {"[一-龥ࠀ-一가-\uD7FF]+"}},
      {scan_han_and_kana, Covers::kMatches, {"[一-龥\u3040-ゟ゠-ヿ]+"}},
      {scan_spaced_letters, Covers::kMatches, {R"(\s?\p{L}+)"}},
      {scan_spaced_punctuation, Covers::kMatches, {R"(\s?\p{P}+)"}},
      {scan_symbols, Covers::kMatches, {R"([\p{P}\$\+<=>\^~\|`]+)"}},
      {scan_symbols_but_backtick, Covers::kMatches, {R"([\p{P}\$\+<=>\^~\|]+)"}},
      {scan_deepseek3,
       Covers::kMatches,
       {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
        "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}},
  };
  return table;
}

const KnownCut* find_cut_for_pattern(std::string_view pattern) {
  for (const KnownCut& cut : known_cuts()) {
    if (std::find(cut.patterns.begin(), cut.patterns.end(), pattern) != cut.patterns.end()) return &cut;
  }
  return nullptr;
}

const KnownPreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const KnownPreTokenizer& known : known_pre_tokenizers()) {
    if (std::find(known.names.begin(), known.names.end(), name) != known.names.end()) return &known;
  }
  return nullptr;
}

const KnownPreTokenizer* find_pre_tokenizer(const KnownPreTokenizer& wanted) {
  const KnownPreTokenizer* found = nullptr;
  for (const KnownPreTokenizer& known : known_pre_tokenizers()) {
    if (known.scanners != wanted.scanners || known.ignore_merges != wanted.ignore_merges) continue;
    if (known.nfc == wanted.nfc) return &known;
    if (found == nullptr) found = &known;
  }
  return found;
}

const KnownCut* find_cut_of_scanner(Scanner scanner) {
  for (const KnownCut& cut : known_cuts()) {
    if (cut.scanner == scanner) return &cut;
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

}  // namespace jericho
