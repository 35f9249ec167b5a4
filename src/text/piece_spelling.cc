// One function per spelling.
#include "text/piece_spelling.h"

#include <utility>

#include "text/byte_level_bpe.h"
#include "text/unicode.h"

namespace jericho {

std::string from_bytes_spelling(std::string_view piece) {
  return from_byte_alphabet(piece).value_or(std::string(piece));
}

std::string from_metaspace_spelling(std::string_view piece) { return replace_all(piece, kMetaspace, " "); }

std::string from_plain_spelling(std::string_view piece) { return std::string(piece); }

PieceSpelling from_word_piece_spelling(std::string prefix) {
  return [prefix = std::move(prefix)](std::string_view piece) {
    if (piece.starts_with(prefix)) return std::string(piece.substr(prefix.size()));
    std::string word = " ";
    word += piece;
    return word;
  };
}

PieceSpelling from_word_end_spelling(std::string suffix) {
  return [suffix = std::move(suffix)](std::string_view piece) {
    if (!piece.ends_with(suffix)) return std::string(piece);
    std::string word(piece.substr(0, piece.size() - suffix.size()));
    word += ' ';
    return word;
  };
}

}  // namespace jericho
