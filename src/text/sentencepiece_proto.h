// The protobuf inside a SentencePiece tokenizer.model (sentencepiece_model.proto of the library): read as it stands,
// and written. What a tokenizer makes of it is in sentencepiece_model.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/index.h"
#include "text/vocabulary.h"

namespace jericho {

// Views lead into the bytes that were read. Defaults are the schema's.
struct SentencePieceProto {
  enum class Type : std::uint64_t { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  struct Piece {
    std::string_view text{};  // as in the file: U+2581 for a space, <0x0A> for a byte
    float score = 0.0f;
    TokenKind kind = TokenKind::kNormal;
  };
  std::vector<Piece> pieces{};
  Type type = Type::kUnigram;  // any number: what a file says is not checked
  Index unk = 0;               // -1: none
  Index bos = 1;
  Index eos = 2;
  Index pad = -1;
  bool byte_fallback = false;
  bool space_is_suffix = false;
  std::string_view charsmap{};  // empty: the identity
  bool dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool escape_spaces = true;
};

// Every length is checked against the bytes that are left. Error(kInput) for bytes that are no such model, one without
// pieces, an unknown type of piece or a score that is not a number.
SentencePieceProto read_sentencepiece_proto(std::string_view bytes);

// The library demands one piece of kind kUnknown, at `unk`, and no two pieces of one text.
std::string write_sentencepiece_proto(const SentencePieceProto& model);

}  // namespace jericho
