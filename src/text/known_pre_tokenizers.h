// Which model families cut text how: the table from the names of tokenizer.ggml.pre to chains of scanners, and from the
// regular expressions of a tokenizer.json to the scanner that cuts alike. A new family is a row of the table in
// known_pre_tokenizers.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/scanners.h"

namespace jericho {

struct KnownCut {
  enum class Covers { kText, kMatches };  // the pattern matches every character, or there may be gaps between matches
  Scanner scanner = nullptr;
  Covers covers = Covers::kText;
  std::vector<std::string_view> patterns{};  // of a tokenizer.json; the first is the published one
};

struct KnownPreTokenizer {
  std::vector<std::string_view> names{};  // values of tokenizer.ggml.pre
  std::vector<Scanner> scanners{};        // each cuts the pieces of the one before
  bool nfc = false;                       // these models normalize to NFC first
  bool ignore_merges = false;             // a piece that is in the vocabulary is taken whole
  bool adds_bos = false;                  // when a GGUF does not say
};

const std::vector<KnownCut>& known_cuts();
const KnownCut* find_cut_for_pattern(std::string_view pattern);      // nullptr: none
const KnownPreTokenizer* find_pre_tokenizer(std::string_view name);  // nullptr: unknown
// The other way: how `wanted` cuts, and whether it ignores merges, decide; of several the one that agrees on NFC too,
// else the first. nullptr: there is none.
const KnownPreTokenizer* find_pre_tokenizer(const KnownPreTokenizer& wanted);
const KnownCut* find_cut_of_scanner(Scanner scanner);  // nullptr: none
std::string known_pre_tokenizer_names();               // "gpt-2, llama-bpe, ...", for error messages

}  // namespace jericho
