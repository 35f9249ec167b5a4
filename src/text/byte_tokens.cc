// Byte fallback: spelling <0x0A> and the table from bytes to tokens.
#include "text/byte_tokens.h"

#include <algorithm>

namespace jericho {

std::optional<char> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const std::size_t digit = std::string_view("0123456789ABCDEFabcdef").find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<int>(digit < 16 ? digit : digit - 6);
  }
  return static_cast<char>(value);
}

ByteTokens::ByteTokens(const Vocabulary& vocabulary, std::optional<TokenId> unknown, UnknownRuns runs)
    : unknown_(unknown), runs_(runs) {
  ids_.fill(-1);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.kind(id) != TokenKind::kByte || vocabulary.text(id).size() != 1) continue;
    TokenId& slot = ids_[static_cast<unsigned char>(vocabulary.text(id)[0])];
    if (slot < 0) slot = id;
  }
}

bool ByteTokens::complete(std::string_view bytes) const {
  return std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return of(byte) >= 0; });
}

void ByteTokens::append(std::string_view bytes, std::size_t start, std::vector<TokenId>& out) const {
  if (complete(bytes)) {
    for (const char byte : bytes) out.push_back(of(byte));
  } else if (unknown_ && (runs_ == UnknownRuns::kEach || out.size() == start || out.back() != *unknown_)) {
    out.push_back(*unknown_);
  }
}

}  // namespace jericho
