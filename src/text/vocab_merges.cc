// GPT-2's two files. Start at read_vocab_merges().
#include "text/vocab_merges.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/special_ids.h"
#include "text/unicode.h"

namespace jericho {
namespace {

constexpr std::string_view kGpt2End = "<|endoftext|>";

}  // namespace

const KnownPreTokenizer& pre_tokenizer_of_class(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  if (name.empty() || name == "GPT2Tokenizer" || name == "CodeGenTokenizer") return *find_pre_tokenizer("gpt-2");
  if (name == "Qwen2Tokenizer") return *find_pre_tokenizer("qwen2");
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("tokenizer_class '{}' with vocab.json and merges.txt is not supported; known are GPT2Tokenizer, "
                  "CodeGenTokenizer and Qwen2Tokenizer; a tokenizer.json would do",
                  name));
}

void read_merges(std::string_view text, VocabularyText& vocabulary) {
  for (bool first = true; !text.empty(); first = false) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (first && line.starts_with("#version"))) continue;
    vocabulary.add_merge(line);
  }
}

TokenizerParts read_vocab_merges(std::string_view vocab_json, std::string_view merges_txt,
                                 const HuggingFaceSettings& settings) {
  const KnownPreTokenizer& known = pre_tokenizer_of_class(settings.tokenizer_class);
  VocabularyText text =
      with_context([] { return std::string("vocab.json"); }, [&] { return parse_vocab_json(vocab_json); });
  with_context([] { return std::string("merges.txt"); }, [&] { read_merges(merges_txt, text); });

  TokenizerParts parts;
  parts.added = settings.added;
  parts.vocabulary = text.take_vocabulary(parts.added, from_bytes_spelling, false);
  MergeTable merges = with_context([] { return std::string("merges.txt"); },
                                   [&] { return text.take_merges(parts.vocabulary, from_bytes_spelling); });
  if (settings.added.empty()) {  // GPT-2 itself: one special token, which is BOS and EOS too
    if (const auto end = parts.vocabulary.find(kGpt2End)) {
      parts.vocabulary.set_kind(*end, TokenKind::kControl);
      parts.added.push_back({.id = *end, .text = std::string(kGpt2End)});
      parts.bos = parts.eos = end;
    }
  }
  if (settings.unk) parts.unk = parts.vocabulary.find(*settings.unk);
  parts.model =
      std::make_unique<ByteLevelBpe>(parts.vocabulary, std::move(merges), ByteLevelBpe::Lookup::kMergesOnly, parts.unk);
  if (known.nfc) parts.normalizer.add(to_nfc);
  for (const Scanner scanner : known.scanners) parts.pre_tokenizer.add(scanner);
  return parts;
}

}  // namespace jericho
