// How model files spell pieces. Inside, a piece is the bytes as they appear in text, with plain spaces: a PieceSpelling
// gives them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace jericho {

using PieceSpelling = std::function<std::string(std::string_view piece)>;

std::string from_bytes_spelling(std::string_view piece);      // GPT-2's byte alphabet; a piece outside it is itself
std::string from_metaspace_spelling(std::string_view piece);  // U+2581 is a space
std::string from_plain_spelling(std::string_view piece);

// WordPiece: with "##", a piece "##ing" goes on and is "ing", and "play" begins a word and is " play".
PieceSpelling from_word_piece_spelling(std::string prefix);
// Old byte-pair models: with "</w>", a piece "ing</w>" ends a word and is "ing ".
PieceSpelling from_word_end_spelling(std::string suffix);

}  // namespace jericho
