// The string pool and its open-addressing index. Start at Vocabulary::find().
#include "text/vocabulary.h"

#include <functional>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr Index kMaxPieces = Index{1} << 24;
constexpr std::size_t kMaxPoolBytes = std::size_t{1} << 31;

std::size_t hash_of(std::string_view text) { return std::hash<std::string_view>()(text); }

}  // namespace

TokenId Vocabulary::add(std::string_view text, TokenKind kind) {
  if (size() >= kMaxPieces || pool_.size() + text.size() > kMaxPoolBytes) {
    throw Error(ErrorKind::kInput,
                fmt::format("the vocabulary has more than {} pieces or {} bytes", kMaxPieces, kMaxPoolBytes));
  }
  pool_ += text;
  ends_.push_back(static_cast<std::uint32_t>(pool_.size()));
  kinds_.push_back(kind);
  return static_cast<TokenId>(size() - 1);
}

void Vocabulary::build_index() {
  pool_.shrink_to_fit();
  ends_.shrink_to_fit();
  kinds_.shrink_to_fit();
  std::size_t slots = 16;
  while (slots * 2 < kinds_.size() * 3) slots *= 2;
  slots_.assign(slots, -1);
  for (TokenId id = 0; id < size(); ++id) {
    if (kind(id) == TokenKind::kNormal) insert(id);
  }
  for (TokenId id = 0; id < size(); ++id) {
    if (kind(id) != TokenKind::kNormal) insert(id);
  }
}

void Vocabulary::insert(TokenId id) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_of(text(id)) & mask;
  while (slots_[at] >= 0) {
    if (text(slots_[at]) == text(id)) return;
    at = (at + 1) & mask;
  }
  slots_[at] = id;
}

std::optional<TokenId> Vocabulary::find(std::string_view text_wanted) const {
  if (slots_.empty()) return std::nullopt;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash_of(text_wanted) & mask; slots_[at] >= 0; at = (at + 1) & mask) {
    if (text(slots_[at]) == text_wanted) return slots_[at];
  }
  return std::nullopt;
}

Bytes Vocabulary::memory_bytes() const {
  return {static_cast<std::int64_t>(pool_.capacity() + ends_.capacity() * sizeof(std::uint32_t) +
                                    kinds_.capacity() * sizeof(TokenKind) + slots_.capacity() * sizeof(TokenId))};
}

}  // namespace jericho
