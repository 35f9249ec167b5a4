// Ids: special tokens, then (SentencePiece) the 256 bytes, then the trainer's symbols. See trained_tokenizer.h.
#include "text/trained_tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/known_pre_tokenizers.h"
#include "text/unicode.h"

namespace jericho {
namespace {

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

constexpr std::string_view kUnknown = "<unk>";
enum TokenType : std::uint64_t { kNormal = 1, kUnknownType = 2, kControl = 3, kByte = 6 };  // as a GGUF numbers them

std::uint64_t id_of(const std::vector<std::string>& tokens, const std::string& text) {
  return static_cast<std::uint64_t>(std::find(tokens.begin(), tokens.end(), text) - tokens.begin());
}

std::string with_metaspace(std::string_view text) {
  std::string spelled;
  for (const char c : text) c == ' ' ? spelled += kMetaspace : spelled += c;
  return spelled;
}

}  // namespace

void TokenizerRecipe::validate() const {
  if (bos.empty() || eos.empty()) throw Error(ErrorKind::kUsage, "--bos and --eos: expected a text each");
  if (kind == Kind::kByteLevel && find_pre_tokenizer(cuts) == nullptr)
    throw Error(ErrorKind::kUsage, fmt::format("--pre {}: expected one of {}", cuts, known_pre_tokenizer_names()));
  constexpr Index kMost = 1 << 20;
  const Index least = vocabulary - symbols() + (kind == Kind::kByteLevel ? 256 : 0) + 1;
  if (vocabulary < least || vocabulary > kMost)
    throw Error(ErrorKind::kUsage, fmt::format("--vocab {}: expected {} to {}", vocabulary, least, kMost));
}

std::vector<std::string> TokenizerRecipe::special_tokens() const {
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& text) {
    if (std::find(tokens.begin(), tokens.end(), text) == tokens.end()) tokens.push_back(text);
  };
  if (kind == Kind::kSentencePiece) add(std::string(kUnknown));
  add(bos);
  add(eos);
  for (const std::string& text : special) add(text);
  return tokens;
}

Index TokenizerRecipe::symbols() const {
  const Index bytes = kind == Kind::kSentencePiece ? 256 : 0;
  return vocabulary - static_cast<Index>(special_tokens().size()) - bytes;
}

BpeTrainer TokenizerRecipe::trainer() const {
  PreTokenizer pre_tokenizer;
  if (kind == Kind::kSentencePiece) {
    pre_tokenizer.add(scan_gpt2);
    return BpeTrainer(BpeTrainer::Symbols::kCharacters, std::move(pre_tokenizer));
  }
  for (const Scanner scanner : find_pre_tokenizer(cuts)->scanners) pre_tokenizer.add(scanner);
  return BpeTrainer(BpeTrainer::Symbols::kBytes, std::move(pre_tokenizer));
}

Metadata tokenizer_metadata(const TokenizerRecipe& recipe, const TrainedMerges& trained) {
  const bool pieces = recipe.kind == TokenizerRecipe::Kind::kSentencePiece;
  std::vector<std::string> tokens = recipe.special_tokens();
  std::vector<std::uint64_t> types(tokens.size(), kControl);
  std::vector<double> scores(tokens.size(), 0);
  const auto add = [&](std::string text, TokenType type, double score) {
    tokens.push_back(std::move(text));
    types.push_back(type);
    scores.push_back(score);
  };
  Metadata metadata;
  if (pieces) {
    types[0] = kUnknownType;
    metadata.set(key("unknown_token_id"), std::uint64_t{0});
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), kByte, 0);
  }
  // The earlier a merge, the better its piece; characters come last.
  const auto merged = static_cast<Index>(trained.symbols.size()) - trained.first;
  for (std::size_t i = 0; i < trained.symbols.size(); ++i) {
    const Index after_first = static_cast<Index>(i) - trained.first;
    const Index rank = after_first >= 0 ? after_first : merged + static_cast<Index>(i);
    const std::string& text = trained.symbols[i];
    add(pieces ? with_metaspace(text) : to_byte_alphabet(text), kNormal, -static_cast<double>(rank));
  }
  if (pieces) {
    metadata.set(key("scores"), scores);
    metadata.set(key("add_space_prefix"), true);
  } else {
    std::vector<std::string> merges;
    const auto spelled = [&](std::int32_t symbol) {
      return to_byte_alphabet(trained.symbols[static_cast<std::size_t>(symbol)]);
    };
    for (const TrainedMerges::Merge& merge : trained.merges)
      merges.push_back(fmt::format("{} {}", spelled(merge.left), spelled(merge.right)));
    metadata.set(key("merges"), std::move(merges));
    metadata.set(key("pre"), recipe.cuts);
  }
  metadata.set(key("model"), std::string(pieces ? "llama" : "gpt2"));
  metadata.set(key("bos_token_id"), id_of(tokens, recipe.bos));
  metadata.set(key("eos_token_id"), id_of(tokens, recipe.eos));
  metadata.set(key("add_bos_token"), true);
  metadata.set(key("add_eos_token"), false);
  metadata.set(key("tokens"), std::move(tokens));
  metadata.set(key("token_type"), std::move(types));
  return metadata;
}

}  // namespace jericho
