// Base64 ranks, the model that merges by them, and the families of known vocabularies. Start at read_tiktoken().
#include "text/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "text/base64.h"
#include "text/byte_level_bpe.h"
#include "text/special_ids.h"
#include "text/vocabulary_json.h"

namespace jericho {
namespace {

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

// Names with the ids from `first` on.
class SpecialNames {
 public:
  explicit SpecialNames(Index first) : first_(first) {}
  void add(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) add(std::string(name));
  }
  // "<|PREFIXreserved_special_token_N|>" for N from `from` on, up to but not including `to`.
  void reserve(std::string_view prefix, int from, int to) {
    for (; from < to; ++from) add(fmt::format("<|{}reserved_special_token_{}|>", prefix, from));
  }
  [[nodiscard]] int size() const { return static_cast<int>(added_.size()); }
  [[nodiscard]] std::vector<AddedToken> take() { return std::move(added_); }

 private:
  void add(std::string name) {
    added_.push_back({.id = static_cast<TokenId>(first_ + size()), .text = std::move(name)});
  }

  Index first_;
  std::vector<AddedToken> added_;
};

// tokenizer.py of the Llama 3 release.
std::vector<AddedToken> llama3_specials(Index ranks) {
  SpecialNames names(ranks);
  names.add({"<|begin_of_text|>", "<|end_of_text|>"});
  names.reserve("", 0, 4);
  names.add({"<|start_header_id|>", "<|end_header_id|>"});
  names.reserve("", 4, 5);
  names.add({"<|eot_id|>"});
  names.reserve("", 5, 256 - names.size() + 5);
  return names.take();
}

// models/llama4/tokenizer.py of llama-models.
std::vector<AddedToken> llama4_specials(Index ranks) {
  SpecialNames names(ranks);
  names.add({"<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"});
  names.add({"<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"});
  names.reserve("text_post_train_", 0, 6);
  names.add({"<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"});
  names.reserve("text_post_train_", 8, 69);
  names.add({"<|image_start|>", "<|image_end|>"});
  names.reserve("vision_", 0, 2);
  names.add({"<|tile_x_separator|>", "<|tile_y_separator|>"});
  names.reserve("vision_", 2, 6);
  names.add({"<|image|>"});
  names.reserve("vision_", 6, 7);
  names.add({"<|patch|>"});
  names.reserve("vision_", 7, 1048);
  names.reserve("reasoning_", 0, 8);
  names.add({"<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"});
  names.reserve("", 0, 2048 - names.size());
  return names.take();
}

// openai_public.py of tiktoken.
std::vector<AddedToken> gpt2_specials(Index ranks) {
  return {{.id = static_cast<TokenId>(ranks), .text = "<|endoftext|>"}};
}
std::vector<AddedToken> cl100k_specials(Index) {
  return {{.id = 100257, .text = "<|endoftext|>"},
          {.id = 100258, .text = "<|fim_prefix|>"},
          {.id = 100259, .text = "<|fim_middle|>"},
          {.id = 100260, .text = "<|fim_suffix|>"},
          {.id = 100276, .text = "<|endofprompt|>"}};
}
std::vector<AddedToken> o200k_specials(Index) {
  return {{.id = 199999, .text = "<|endoftext|>"}, {.id = 200018, .text = "<|endofprompt|>"}};
}

// The files do not say how text is cut, but each family has a number of pieces of its own.
struct Family {
  Index ranks = 0;
  Scanner scanner = nullptr;
  std::vector<AddedToken> (*specials)(Index ranks) = nullptr;
};
constexpr Family kFamilies[] = {{50256, scan_gpt2, gpt2_specials},
                                {100256, scan_llama3, cl100k_specials},
                                {128000, scan_llama3, llama3_specials},
                                {199998, scan_gpt4o, o200k_specials},
                                {200000, scan_gpt4o, llama4_specials}};

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
  const auto* family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                    [&](const Family& known) { return known.ranks == ranks; });
  const bool known = family != std::end(kFamilies);
  if (!known) {
    parts.notes.push_back(fmt::format(
        "how a vocabulary of {} pieces cuts text is not known; Llama 3's way is assumed, so tokens may differ from "
        "training",
        ranks));
  }
  if (parts.added.empty() && known) parts.added = family->specials(ranks);
  parts.vocabulary = pieces.take_vocabulary(parts.added, from_plain_spelling, false);
  parts.model = std::make_unique<RankBpe>(parts.vocabulary, ranks);
  parts.pre_tokenizer.add(known ? family->scanner : scan_llama3);
  parts.bos = parts.vocabulary.find("<|begin_of_text|>");
  parts.eos = parts.vocabulary.find("<|end_of_text|>");
  if (!parts.eos) parts.eos = parts.vocabulary.find("<|endoftext|>");
  set_affixes(parts, settings.add_bos.value_or(true), settings.add_eos.value_or(false));
  return parts;
}

}  // namespace jericho
