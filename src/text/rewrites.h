// What normalizers do to a text, by name: each takes a fragment and returns it changed. Bytes that are not UTF-8 stay
// as they are. Names and definitions are those of Hugging Face's tokenizers, which has them from BERT's tokenization.py
// and from SentencePiece.
#pragma once

#include <string>
#include <string_view>

namespace jericho {

std::string to_lower(std::string_view text);       // per code point, Unicode's full mapping
std::string strip_marks(std::string_view text);    // StripAccents: drops all combining marks
std::string strip_accents(std::string_view text);  // BERT's: NFD, then without nonspacing marks
std::string clean_nmt(std::string_view text);      // Nmt: some controls dropped, spaces of all kinds to one

std::string strip_left(std::string_view text);   // white space
std::string strip_right(std::string_view text);  // white space

// BERT's clean_text: white space becomes a space; controls, unassigned code points, NUL and U+FFFD are dropped.
std::string clean_for_bert(std::string_view text);
// BERT's handle_chinese_chars: a space on either side of every ideograph.
std::string space_ideographs(std::string_view text);

// SentencePiece's remove_extra_whitespaces: runs of spaces become one, none at either end. At the end U+2581 is one
// too.
std::string collapse_spaces(std::string_view text);

}  // namespace jericho
