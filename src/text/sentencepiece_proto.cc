// A bounded reader and a writer of protobuf fields, then the model's messages. Start at read_sentencepiece_proto().
#include "text/sentencepiece_proto.h"

#include <bit>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

[[noreturn]] void fail(std::string_view what) {
  throw Error(ErrorKind::kInput, fmt::format("not a whole SentencePiece model: {}", what));
}

// Fields of one protobuf message, in order (protobuf.dev, "Encoding": tag = number << 3 | wire type).
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    std::uint64_t number = 0;
    std::uint64_t value = 0;   // wire types 0, 1 and 5
    std::string_view bytes{};  // wire type 2
    [[nodiscard]] bool flag() const { return value != 0; }
  };
  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field{.number = tag >> 3};
    switch (tag & 7) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: fail(fmt::format("wire type {}", tag & 7));
    }
    return field;
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    fail("a number is longer than 64 bits");
  }
  std::uint64_t fixed(std::size_t size) {
    std::uint64_t value = 0;
    const std::string_view bytes = take(size);
    for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) fail(fmt::format("a field of {} bytes where {} are left", size, rest_.size()));
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
};

// Negative ids (pad_id is -1) are 64-bit varints.
Index to_id(std::uint64_t value) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(value)); }

SentencePieceProto::Piece read_piece(std::string_view bytes, std::size_t place) {
  SentencePieceProto::Piece piece;
  std::uint64_t type = 1;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 2) piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
    if (field->number == 3) type = field->value;
  }
  if (type < 1 || type > 6) fail(fmt::format("piece {} has type {}", place, type));
  if (std::isnan(piece.score)) fail(fmt::format("the score of piece {} is not a number", place));
  piece.kind = static_cast<TokenKind>(type);
  return piece;
}

void read_trainer(std::string_view bytes, SentencePieceProto& model) {
  Message message(bytes);
  while (const auto field = message.next()) {
    switch (field->number) {
      case 3: model.type = static_cast<SentencePieceProto::Type>(field->value); break;
      case 24: model.space_is_suffix = field->flag(); break;
      case 35: model.byte_fallback = field->flag(); break;
      case 40: model.unk = to_id(field->value); break;
      case 41: model.bos = to_id(field->value); break;
      case 42: model.eos = to_id(field->value); break;
      case 43: model.pad = to_id(field->value); break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view bytes, SentencePieceProto& model) {
  Message message(bytes);
  while (const auto field = message.next()) {
    switch (field->number) {
      case 2: model.charsmap = field->bytes; break;
      case 3: model.dummy_prefix = field->flag(); break;
      case 4: model.remove_extra_spaces = field->flag(); break;
      case 5: model.escape_spaces = field->flag(); break;
      default: break;
    }
  }
}

// Appends fields to a message.
class MessageWriter {
 public:
  void number(std::uint64_t field, std::uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void id(std::uint64_t field, Index value) { number(field, static_cast<std::uint64_t>(value)); }
  void text(std::uint64_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes_ += value;
  }
  void single(std::uint64_t field, float value) {
    varint(field << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(static_cast<char>(bits >> shift & 0xFF));
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7F) | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }

  std::string bytes_;
};

std::string piece_message(const SentencePieceProto::Piece& piece) {
  MessageWriter message;
  message.text(1, piece.text);
  message.single(2, piece.score);
  if (piece.kind != TokenKind::kNormal) message.number(3, static_cast<std::uint64_t>(piece.kind));
  return message.take();
}

// The library looks its special pieces up by name: those of the schema's default names need no mention, others do.
std::string trainer_message(const SentencePieceProto& model) {
  MessageWriter message;
  message.number(3, static_cast<std::uint64_t>(model.type));
  message.id(4, static_cast<Index>(model.pieces.size()));
  message.number(24, model.space_is_suffix ? 1 : 0);
  message.number(35, model.byte_fallback ? 1 : 0);
  const std::pair<std::uint64_t, Index> ids[] = {{40, model.unk}, {41, model.bos}, {42, model.eos}, {43, model.pad}};
  for (const auto& [field, id] : ids) message.id(field, id);
  for (const auto& [field, id] : ids) {
    if (id >= 0 && id < static_cast<Index>(model.pieces.size())) {
      message.text(field + 5, model.pieces[static_cast<std::size_t>(id)].text);
    }
  }
  return message.take();
}

std::string normalizer_message(const SentencePieceProto& model) {
  MessageWriter message;
  message.text(1, model.charsmap.empty() ? "identity" : "user_defined");
  if (!model.charsmap.empty()) message.text(2, model.charsmap);
  message.number(3, model.dummy_prefix ? 1 : 0);
  message.number(4, model.remove_extra_spaces ? 1 : 0);
  message.number(5, model.escape_spaces ? 1 : 0);
  return message.take();
}

}  // namespace

SentencePieceProto read_sentencepiece_proto(std::string_view bytes) {
  SentencePieceProto model;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) model.pieces.push_back(read_piece(field->bytes, model.pieces.size()));
    if (field->number == 2) read_trainer(field->bytes, model);
    if (field->number == 3) read_normalizer(field->bytes, model);
  }
  if (model.pieces.empty()) fail("it has no pieces");
  return model;
}

std::string write_sentencepiece_proto(const SentencePieceProto& model) {
  MessageWriter message;
  for (const SentencePieceProto::Piece& piece : model.pieces) message.text(1, piece_message(piece));
  message.text(2, trainer_message(model));
  message.text(3, normalizer_message(model));
  return message.take();
}

}  // namespace jericho
