// The pipeline of tokenizer.h. Start at Tokenizer::encode().
#include "text/tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "text/detokenizer.h"

namespace jericho {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1}
                                      << 30;  // positions inside a piece are 31 bits, and spaces may be added

AddedTokenMatcher matcher_of(const TokenizerParts& parts, bool normalized) {
  std::vector<AddedToken> chosen;
  for (const AddedToken& token : parts.added) {
    if (token.normalized != normalized) continue;
    chosen.push_back(token);
    if (!normalized) continue;
    std::string buffer;
    chosen.back().text = std::string(parts.normalizer.apply(token.text, FragmentPlace::kStart, buffer));
  }
  return AddedTokenMatcher(std::move(chosen));
}

// Calls token(id) and rest(text, place) for the added tokens in `text` and what is between them.
template <class OnToken, class OnText>
void split_added(const AddedTokenMatcher& matcher, std::string_view text, FragmentPlace place, bool with_control,
                 const OnToken& on_token, const OnText& on_text) {
  std::size_t at = 0;
  while (const auto match = matcher.next(text, at, with_control)) {
    if (match->begin > at) on_text(text.substr(at, match->begin - at), at == 0 ? place : FragmentPlace::kInside);
    on_token(match->id);
    at = match->end;
  }
  if (at < text.size()) on_text(text.substr(at), at == 0 ? place : FragmentPlace::kInside);
}

}  // namespace

Tokenizer::Tokenizer(TokenizerParts parts)
    : parts_(std::move(parts)), raw_added_(matcher_of(parts_, false)), normalized_added_(matcher_of(parts_, true)) {
  JERICHO_CHECK(parts_.model != nullptr, "a tokenizer needs a model");
  parts_.added = {};
  auto& ends = parts_.end_of_generation;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorKind::kInput, fmt::format("the text has {} bytes; at most {} can be tokenized at once, cut it",
                                               text.size(), kMaxTextBytes));
  }
  std::vector<TokenId> ids;
  if (options.add_bos) ids = parts_.prefix;
  MergeScratch scratch;
  const bool with_control = options.special == SpecialTokens::kParse;
  split_added(
      raw_added_, text, FragmentPlace::kStart, with_control, [&](TokenId id) { ids.push_back(id); },
      [&](std::string_view rest, FragmentPlace place) { encode_fragment(rest, place, with_control, scratch, ids); });
  if (options.add_bos) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

void Tokenizer::encode_fragment(std::string_view text, FragmentPlace place, bool with_control, MergeScratch& scratch,
                                std::vector<TokenId>& out) const {
  std::string buffer;
  const std::string_view normal = parts_.normalizer.apply(text, place, buffer);
  split_added(
      normalized_added_, normal, place, with_control, [&](TokenId id) { out.push_back(id); },
      [&](std::string_view rest, FragmentPlace rest_place) { encode_plain(rest, rest_place, scratch, out); });
}

void Tokenizer::encode_plain(std::string_view text, FragmentPlace place, MergeScratch& scratch,
                             std::vector<TokenId>& out) const {
  std::string buffer;
  parts_.pre_tokenizer.for_each_piece(parts_.before_pieces.apply(text, place, buffer), [&](std::string_view piece) {
    parts_.model->encode(parts_.vocabulary, piece, scratch, out);
  });
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const TokenId id : ids) detokenizer.push(id, text);
  text += detokenizer.finish();
  return text;
}

std::string Tokenizer::piece(TokenId id) const {
  return parts_.vocabulary.contains(id) ? std::string(parts_.vocabulary.text(id)) : std::string();
}

std::string Tokenizer::decoded_piece(TokenId id) const {
  if (!parts_.decode_piece || !parts_.vocabulary.contains(id)) return piece(id);
  return parts_.decode_piece(parts_.vocabulary.text(id));
}

bool Tokenizer::adds_bos() const {
  return parts_.bos && std::find(parts_.prefix.begin(), parts_.prefix.end(), *parts_.bos) != parts_.prefix.end();
}

bool Tokenizer::is_control(TokenId id) const {
  if (!parts_.vocabulary.contains(id)) return false;
  const TokenKind kind = parts_.vocabulary.kind(id);
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
}

std::optional<TokenId> Tokenizer::find(std::string_view piece) const { return parts_.vocabulary.find(piece); }

Bytes Tokenizer::memory_bytes() const {
  return parts_.vocabulary.memory_bytes() + parts_.model->memory_bytes() + parts_.normalizer.memory_bytes() +
         parts_.before_pieces.memory_bytes() + raw_added_.memory_bytes() + normalized_added_.memory_bytes() +
         Bytes{static_cast<std::int64_t>(sizeof(*this))};
}

}  // namespace jericho
