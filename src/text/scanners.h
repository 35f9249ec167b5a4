// The cuts of well-known model families as hand scanners: one linear pass each, where a regular expression would
// backtrack. known_pre_tokenizers.cc says which family cuts how; each scanner is tested against PCRE2 running the
// published pattern.
#pragma once

#include <cstddef>
#include <string_view>

namespace jericho {

// The end of the piece that begins at `at` < text.size(). `text` ends where the fragment ends: \s+(?!\S) sees nothing
// beyond.
using Scanner = std::size_t (*)(std::string_view text, std::size_t at);

// Cuts that cover the whole text.
std::size_t scan_gpt2(std::string_view text, std::size_t at);
std::size_t scan_llama3(std::string_view text, std::size_t at);
std::size_t scan_qwen2(std::string_view text, std::size_t at);   // Llama 3's with single digits
std::size_t scan_qwen35(std::string_view text, std::size_t at);  // the same, where marks belong to words
std::size_t scan_gpt4o(std::string_view text, std::size_t at);   // words begin at a capital behind small letters
std::size_t scan_tekken(std::string_view text, std::size_t at);  // the same without 's and with single digits

std::size_t scan_word_runs(std::string_view text, std::size_t at);  // \w+|\W+, with \w of Rust's regex

// Cuts that set off what they know; what lies between stays whole.
std::size_t scan_single_digits(std::string_view text, std::size_t at);       // \p{N}
std::size_t scan_three_digits(std::string_view text, std::size_t at);        // \p{N}{1,3}
std::size_t scan_digit_runs(std::string_view text, std::size_t at);          // \p{N}+
std::size_t scan_ascii_triples(std::string_view text, std::size_t at);       // [0-9][0-9][0-9]
std::size_t scan_newlines(std::string_view text, std::size_t at);            // [\r\n]
std::size_t scan_cased_words(std::string_view text, std::size_t at);         // \s?[letters of cased scripts]+
std::size_t scan_wide_punctuation(std::string_view text, std::size_t at);    // \s?[!-/:-~！-／：-～‘-‟　-。]+
std::size_t scan_trailing_space(std::string_view text, std::size_t at);      // \s+$
std::size_t scan_cjk(std::string_view text, std::size_t at);                 // [一-龥ࠀ-一가-퟿]+
std::size_t scan_han_and_kana(std::string_view text, std::size_t at);        // [一-龥぀-ゟ゠-ヿ]+
std::size_t scan_spaced_letters(std::string_view text, std::size_t at);      // \s?\p{L}+
std::size_t scan_spaced_punctuation(std::string_view text, std::size_t at);  // \s?\p{P}+
std::size_t scan_symbols(std::string_view text, std::size_t at);             // [\p{P}$+<=>^~|`]+
std::size_t scan_symbols_but_backtick(std::string_view text, std::size_t at);
std::size_t scan_deepseek3(std::string_view text, std::size_t at);  // words, symbols, white space

}  // namespace jericho
