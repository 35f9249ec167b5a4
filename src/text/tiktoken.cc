// Base64 ranks, the model that merges by them, and Llama 3's special tokens. Start at read_tiktoken().
#include "text/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/error.h"
#include "text/base64.h"
#include "text/byte_level_bpe.h"
#include "text/special_ids.h"
#include "text/vocabulary_json.h"

namespace jericho {
namespace {

constexpr Index kLlama3Ranks = 128000;
constexpr int kLlama3Specials = 256;

class RankBpe : public TokenModel {
 public:
  RankBpe(const Vocabulary& vocabulary, Index ranks) : ranks_(ranks) {
    for (int byte = 0; byte < 256; ++byte) {
      const char text = static_cast<char>(byte);
      const auto id = vocabulary.find({&text, 1});
      if (!id) throw Error(ErrorKind::kInput, fmt::format("the byte {} has no piece", byte));
      byte_ids_[static_cast<std::size_t>(byte)] = *id;
    }
  }

  void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
              std::vector<TokenId>& out) const override {
    const auto rank = [&](std::string_view text) {
      const auto id = vocabulary.find(text);
      return id && *id < ranks_ ? id : std::nullopt;
    };
    if (const auto whole = rank(piece)) return out.push_back(*whole);
    scratch.symbols.clear();
    for (std::size_t at = 0; at < piece.size(); ++at) {
      scratch.add(at, 1, byte_ids_[static_cast<unsigned char>(piece[at])]);
    }
    merge_symbols(scratch, [&](const MergeSymbol& a, const MergeSymbol& b) -> std::optional<Merge> {
      const auto id = rank(piece.substr(a.begin, a.size + b.size));
      if (!id) return std::nullopt;
      return Merge{static_cast<std::uint32_t>(*id), *id};
    });
    for (std::int32_t i = 0; i >= 0; i = scratch.symbols[static_cast<std::size_t>(i)].next) {
      out.push_back(scratch.symbols[static_cast<std::size_t>(i)].id);
    }
  }
  [[nodiscard]] Bytes memory_bytes() const override { return {static_cast<std::int64_t>(sizeof(*this))}; }

 private:
  Index ranks_;  // ids from here on are special tokens
  std::array<TokenId, 256> byte_ids_{};
};

// tokenizer.py of the Llama 3 release.
std::vector<AddedToken> llama3_specials() {
  std::vector<std::string> names = {"<|begin_of_text|>", "<|end_of_text|>"};
  int reserved = 0;
  const auto reserve = [&](int count) {
    for (; count > 0; --count) names.push_back(fmt::format("<|reserved_special_token_{}|>", reserved++));
  };
  reserve(4);
  names.insert(names.end(), {"<|start_header_id|>", "<|end_header_id|>"});
  reserve(1);
  names.emplace_back("<|eot_id|>");
  reserve(kLlama3Specials - static_cast<int>(names.size()));
  std::vector<AddedToken> added;
  for (const std::string& name : names) {
    added.push_back({.id = static_cast<TokenId>(kLlama3Ranks + static_cast<Index>(added.size())), .text = name});
  }
  return added;
}

Index read_ranks(std::string_view text, VocabularyText& pieces) {
  Index line_number = 0;
  Index ranks = 0;
  while (!text.empty()) {
    ++line_number;
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    const auto piece = space == std::string_view::npos ? std::nullopt : decode_base64(line.substr(0, space));
    Index rank = -1;
    const std::string_view digits = space == std::string_view::npos ? "" : line.substr(space + 1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (!piece || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
      throw Error(ErrorKind::kInput, fmt::format("line {} is not a base64 piece, a space and its rank", line_number));
    }
    pieces.add_piece(*piece, rank);
    ranks = std::max(ranks, rank + 1);
  }
  return ranks;
}

}  // namespace

TokenizerParts read_tiktoken(std::string_view text, const HuggingFaceSettings& settings) {
  VocabularyText pieces;
  const Index ranks = read_ranks(text, pieces);
  TokenizerParts parts;
  for (const AddedToken& token : settings.added) {
    if (token.id >= ranks) parts.added.push_back(token);
  }
  if (parts.added.empty() && ranks == kLlama3Ranks) parts.added = llama3_specials();
  parts.vocabulary = pieces.take_vocabulary(parts.added, from_plain_spelling, false);
  parts.model = std::make_unique<RankBpe>(parts.vocabulary, ranks);
  parts.pre_tokenizer.add(scan_llama3);
  parts.bos = parts.vocabulary.find("<|begin_of_text|>");
  parts.eos = parts.vocabulary.find("<|end_of_text|>");
  set_affixes(parts, settings.add_bos.value_or(true), settings.add_eos.value_or(false));
  return parts;
}

}  // namespace jericho
