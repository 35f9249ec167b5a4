// A bounded reader of protobuf fields, then the model's messages. Start at read_sentencepiece_model().
#include "text/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "text/charsmap.h"
#include "text/rewrites.h"
#include "text/sentencepiece_bpe.h"
#include "text/special_ids.h"
#include "text/unicode.h"
#include "text/unigram.h"

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

constexpr std::uint64_t kUnigram = 1;  // TrainerSpec.ModelType
constexpr std::uint64_t kBpe = 2;

struct Model {
  Vocabulary vocabulary{};
  std::vector<float> scores{};
  std::uint64_t model_type = kUnigram;  // the schema's defaults
  Index unk = 0;
  Index bos = 1;
  Index eos = 2;
  std::shared_ptr<const Charsmap> charsmap{};  // none: identity
  bool dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool escape_spaces = true;
  bool space_is_suffix = false;
};

void read_piece(std::string_view bytes, Model& model) {
  std::string_view text;
  float score = 0.0f;
  std::uint64_t type = 1;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) text = field->bytes;
    if (field->number == 2) score = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
    if (field->number == 3) type = field->value;
  }
  if (type < 1 || type > 6) fail(fmt::format("piece {} has type {}", model.vocabulary.size(), type));
  if (std::isnan(score)) fail(fmt::format("the score of piece {} is not a number", model.vocabulary.size()));
  const auto kind = static_cast<TokenKind>(type);
  std::string plain(text);
  if (kind == TokenKind::kByte) {
    const auto byte = parse_byte_piece(text);
    if (!byte) fail(fmt::format("byte piece {} is not spelled <0x00>", model.vocabulary.size()));
    plain = std::string(1, *byte);
  } else if (kind != TokenKind::kControl && kind != TokenKind::kUnknown) {
    plain = replace_all(text, kMetaspace, " ");
  }
  model.vocabulary.add(plain, kind);
  model.scores.push_back(score);
}

void read_trainer(std::string_view bytes, Model& model) {
  Message message(bytes);
  while (const auto field = message.next()) {
    switch (field->number) {
      case 3: model.model_type = field->value; break;
      case 24: model.space_is_suffix = field->flag(); break;
      case 40: model.unk = to_id(field->value); break;
      case 41: model.bos = to_id(field->value); break;
      case 42: model.eos = to_id(field->value); break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view bytes, Model& model) {
  Message message(bytes);
  while (const auto field = message.next()) {
    switch (field->number) {
      case 2:
        if (!field->bytes.empty()) model.charsmap = std::make_shared<Charsmap>(field->bytes);
        break;
      case 3: model.dummy_prefix = field->flag(); break;
      case 4: model.remove_extra_spaces = field->flag(); break;
      case 5: model.escape_spaces = field->flag(); break;
      default: break;
    }
  }
}

Model read_model(std::string_view bytes) {
  Model model;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) read_piece(field->bytes, model);
    if (field->number == 2) read_trainer(field->bytes, model);
    if (field->number == 3) read_normalizer(field->bytes, model);
  }
  if (model.vocabulary.size() == 0) fail("it has no pieces");
  return model;
}

void require_supported(const Model& model) {
  constexpr std::string_view kTypes[] = {"", "unigram", "bpe", "word", "char"};
  const auto unsupported = [](const std::string& what) { throw Error(ErrorKind::kUnsupported, what); };
  if (model.model_type != kUnigram && model.model_type != kBpe) {
    unsupported(fmt::format("SentencePiece model type {} is not supported; unigram and bpe are",
                            model.model_type < std::size(kTypes) ? kTypes[model.model_type] : "unknown"));
  }
  if (!model.escape_spaces) unsupported("a SentencePiece model that does not escape white space is not supported");
  if (model.space_is_suffix) unsupported("a SentencePiece model that treats white space as a suffix is not supported");
}

}  // namespace

TokenizerParts read_sentencepiece_model(std::string_view bytes, SpacePrefix prefix) {
  Model model = read_model(bytes);
  require_supported(model);
  TokenizerParts parts;
  parts.vocabulary = std::move(model.vocabulary);
  parts.vocabulary.build_index();
  const auto known = [&](Index id, std::string_view what) -> std::optional<TokenId> {
    if (id < 0) return std::nullopt;  // the model was trained without it
    return checked_token(parts.vocabulary, id, what);
  };
  parts.unk = known(model.unk, "unk_id");
  parts.bos = known(model.bos, "bos_id");
  parts.eos = known(model.eos, "eos_id");
  if (model.model_type == kUnigram) {
    parts.model = std::make_unique<Unigram>(parts.vocabulary,
                                            std::vector<double>(model.scores.begin(), model.scores.end()), parts.unk);
  } else {
    parts.model = std::make_unique<SentencePieceBpe>(parts.vocabulary, model.scores, parts.unk);
  }
  parts.added = added_tokens_by_kind(parts.vocabulary);

  using Step = NormalizerStep;
  if (model.charsmap) {
    parts.normalizer.add([map = model.charsmap](std::string_view text) { return map->apply_longest(text); },
                         model.charsmap->memory_bytes());
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
