// Names and ids of the tokens that begin and end texts.
#include "text/special_ids.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::array<std::string_view, 13> kEndNames = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>",        "<end_of_turn>", "<|endoftext|>",
    "<|eom_id|>", "</s>",       "<EOT>",   "_<EOT>",     "<|end_of_text|>", "<eos>"};

}  // namespace

TokenId checked_token(const Vocabulary& vocabulary, Index id, std::string_view what) {
  if (id < 0 || id >= vocabulary.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("{} is {}, but the vocabulary has {} tokens", what, id, vocabulary.size()));
  }
  return static_cast<TokenId>(id);
}

void add_end_names(TokenizerParts& parts) {
  const Vocabulary& vocabulary = parts.vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.kind(id) != TokenKind::kControl) continue;
    if (std::find(kEndNames.begin(), kEndNames.end(), vocabulary.text(id)) != kEndNames.end()) {
      parts.end_of_generation.push_back(id);
    }
  }
}

void set_affixes(TokenizerParts& parts, bool add_bos, bool add_eos) {
  if (add_bos && parts.bos) parts.prefix = {*parts.bos};
  if (add_eos && parts.eos) parts.suffix = {*parts.eos};
}

std::vector<AddedToken> added_tokens_by_kind(const Vocabulary& vocabulary) {
  std::vector<AddedToken> added;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    if (kind != TokenKind::kControl && kind != TokenKind::kUnknown && kind != TokenKind::kUserDefined) continue;
    added.push_back({.id = id, .text = std::string(vocabulary.text(id)), .control = kind != TokenKind::kUserDefined});
  }
  return added;
}

}  // namespace jericho
