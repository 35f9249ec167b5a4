// From the protobuf to the parts of a tokenizer. Start at read_sentencepiece_model().
#include "text/sentencepiece_model.h"

#include <memory>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "text/charsmap.h"
#include "text/rewrites.h"
#include "text/sentencepiece_bpe.h"
#include "text/sentencepiece_proto.h"
#include "text/special_ids.h"
#include "text/unicode.h"
#include "text/unigram.h"

namespace jericho {
namespace {

using Type = SentencePieceProto::Type;

// The bytes a piece stands for in text.
std::string plain_piece(const SentencePieceProto::Piece& piece, Index place) {
  if (piece.kind == TokenKind::kByte) {
    const auto byte = parse_byte_piece(piece.text);
    if (!byte) {
      throw Error(ErrorKind::kInput,
                  fmt::format("not a whole SentencePiece model: byte piece {} is not spelled <0x00>", place));
    }
    return std::string(1, *byte);
  }
  if (piece.kind == TokenKind::kControl || piece.kind == TokenKind::kUnknown) return std::string(piece.text);
  return replace_all(piece.text, kMetaspace, " ");
}

void require_supported(const SentencePieceProto& model) {
  constexpr std::string_view kTypes[] = {"", "unigram", "bpe", "word", "char"};
  const auto unsupported = [](const std::string& what) { throw Error(ErrorKind::kUnsupported, what); };
  if (model.type != Type::kUnigram && model.type != Type::kBpe) {
    const auto number = static_cast<std::uint64_t>(model.type);
    unsupported(fmt::format("SentencePiece model type {} is not supported; unigram and bpe are",
                            number < std::size(kTypes) ? kTypes[number] : "unknown"));
  }
  if (!model.escape_spaces) unsupported("a SentencePiece model that does not escape white space is not supported");
  if (model.space_is_suffix) unsupported("a SentencePiece model that treats white space as a suffix is not supported");
}

}  // namespace

TokenizerParts read_sentencepiece_model(std::string_view bytes, SpacePrefix prefix) {
  const SentencePieceProto model = read_sentencepiece_proto(bytes);
  require_supported(model);
  TokenizerParts parts;
  std::vector<float> scores;
  for (const SentencePieceProto::Piece& piece : model.pieces) {
    parts.vocabulary.add(plain_piece(piece, parts.vocabulary.size()), piece.kind);
    scores.push_back(piece.score);
  }
  parts.vocabulary.build_index();
  const auto known = [&](Index id, std::string_view what) -> std::optional<TokenId> {
    if (id < 0) return std::nullopt;  // the model was trained without it
    return checked_token(parts.vocabulary, id, what);
  };
  parts.unk = known(model.unk, "unk_id");
  parts.bos = known(model.bos, "bos_id");
  parts.eos = known(model.eos, "eos_id");
  if (model.type == Type::kUnigram) {
    parts.model =
        std::make_unique<Unigram>(parts.vocabulary, std::vector<double>(scores.begin(), scores.end()), parts.unk);
  } else {
    parts.model = std::make_unique<SentencePieceBpe>(parts.vocabulary, scores, parts.unk);
  }
  parts.added = added_tokens_by_kind(parts.vocabulary);

  using Step = NormalizerStep;
  if (!model.charsmap.empty()) {
    const auto map = std::make_shared<const Charsmap>(model.charsmap);
    parts.normalizer.add([map](std::string_view text) { return map->apply_longest(text); }, map->memory_bytes());
  }
  if (model.remove_extra_spaces) parts.normalizer.add(collapse_spaces);
  parts.normalizer.add({.kind = Step::Kind::kReplace, .from = std::string(kMetaspace), .to = " "});
  if (model.dummy_prefix) {
    const bool at_start = prefix == SpacePrefix::kAtStart;
    parts.normalizer.add({.kind = Step::Kind::kPrepend,
                          .to = " ",
                          .prepend = at_start ? Step::Prepend::kAtStart : Step::Prepend::kAlways});
    parts.strips_leading_space = true;
  }
  return parts;
}

bool looks_like_sentencepiece_model(std::string_view bytes) {
  return bytes.starts_with('\n');
}  // field 1, length-delimited

}  // namespace jericho
