// The byte alphabet, the merge table, and the two models that merge by rule. Start at ByteLevelBpe::encode().
#include "text/byte_level_bpe.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/unicode.h"

namespace jericho {
namespace {

// bytes_to_unicode() of GPT-2's encoder.py: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100
// on.
constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> kByteToChar = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    table[static_cast<std::size_t>(byte)] = is_printable(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return table;
}();

constexpr std::array<std::int16_t, 0x144> kCharToByte = [] {
  std::array<std::int16_t, 0x144> table{};
  for (auto& entry : table) entry = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) table[kByteToChar[byte]] = static_cast<std::int16_t>(byte);
  return table;
}();

bool is_normal_piece(const Vocabulary& vocabulary, TokenId id) {
  const TokenKind kind = vocabulary.kind(id);
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
}

void append_symbols(const MergeScratch& scratch, std::vector<TokenId>& out) {
  if (scratch.symbols.empty()) return;
  for (std::int32_t i = 0; i >= 0; i = scratch.symbols[static_cast<std::size_t>(i)].next) {
    out.push_back(scratch.symbols[static_cast<std::size_t>(i)].id);
  }
}

}  // namespace

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = decode_utf8(text, at);
    if (code.value >= kCharToByte.size() || kCharToByte[code.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kCharToByte[code.value]));
    at += code.size;
  }
  return bytes;
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const char32_t code = kByteToChar[static_cast<unsigned char>(byte)];
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {  // all are below U+0144
      text.push_back(static_cast<char>(0xC0 | (code >> 6)));
      text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
  }
  return text;
}

std::pair<std::string_view, std::string_view> split_merge_rule(std::string_view rule) {
  const std::size_t space = rule.size() > 1 ? rule.find(' ', 1) : std::string_view::npos;
  if (space == std::string_view::npos) {
    throw Error(ErrorKind::kInput, fmt::format("merge rule '{}' is not two pieces with a space between", rule));
  }
  return {rule.substr(0, space), rule.substr(space + 1)};
}

MergeTable::MergeTable(Index rules) {
  std::size_t slots = 16;
  while (slots * 2 < static_cast<std::size_t>(rules) * 3) slots *= 2;
  slots_.resize(slots);
}

std::size_t MergeTable::slot_of(TokenId left, TokenId right) const {
  const std::uint64_t key = std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  std::uint64_t hash = (key ^ (key >> 31)) * 0x9E3779B97F4A7C15u;  // Fibonacci hashing: the high bits are the good ones
  hash ^= hash >> 32;
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) at = (at + 1) & mask;
  return at;
}

void MergeTable::add(TokenId left, TokenId right, TokenId result) {
  Slot& slot = slots_[slot_of(left, right)];
  if (slot.left < 0) slot = {left, right, {next_rank_, result}};
  ++next_rank_;
}

std::optional<Merge> MergeTable::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0) return std::nullopt;
  const Slot& slot = slots_[slot_of(left, right)];
  if (slot.left < 0) return std::nullopt;
  return slot.merge;
}

void MergeReader::add(std::string_view rule) {
  const auto [left, right] = split_merge_rule(rule);
  add(left, right);
}

void MergeReader::add(std::string_view left, std::string_view right) {
  const std::string left_text = spelling_(left);
  const std::string right_text = spelling_(right);
  const auto left_id = vocabulary_.find(left_text);
  const auto right_id = vocabulary_.find(right_text);
  const auto result = vocabulary_.find(left_text + right_text);
  if (!left_id || !right_id || !result) {
    throw Error(ErrorKind::kInput, fmt::format("merge rule '{} {}': {} is not in the vocabulary", left, right,
                                               !left_id    ? "its left side"
                                               : !right_id ? "its right side"
                                                           : "its result"));
  }
  table_.add(*left_id, *right_id, *result);
}

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary, MergeTable merges, Lookup lookup,
                           std::optional<TokenId> unknown)
    : merges_(std::move(merges)), unknown_(unknown), lookup_(lookup) {
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    byte_ids_[static_cast<std::size_t>(byte)] = vocabulary.find({&text, 1}).value_or(-1);
  }
}

void ByteLevelBpe::encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
                          std::vector<TokenId>& out) const {
  if (lookup_ == Lookup::kWholePieces) {
    const auto whole = vocabulary.find(piece);
    if (whole && is_normal_piece(vocabulary, *whole)) return out.push_back(*whole);
  }
  scratch.symbols.clear();
  for (std::size_t at = 0; at < piece.size(); ++at) {
    TokenId id = byte_ids_[static_cast<unsigned char>(piece[at])];
    if (id < 0 && !unknown_) continue;  // a vocabulary without this byte and without <unk> cannot say it
    scratch.add(at, 1, id < 0 ? *unknown_ : id);
  }
  merge_symbols(scratch, [&](const MergeSymbol& a, const MergeSymbol& b) { return merges_.find(a.id, b.id); });
  append_symbols(scratch, out);
}

Bytes ByteLevelBpe::memory_bytes() const {
  return merges_.memory_bytes() + Bytes{static_cast<std::int64_t>(sizeof(*this))};
}

CharacterBpe::CharacterBpe(const Vocabulary& vocabulary, MergeTable merges, ByteLevelBpe::Lookup lookup,
                           std::optional<TokenId> unknown, UnknownRuns runs, Words words)
    : merges_(std::move(merges)),
      bytes_(vocabulary, unknown, runs),
      lookup_(lookup),
      words_(words),
      by_words_(words == Words::kOpen && pieces_stay_within_words(vocabulary)) {}

void CharacterBpe::encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
                          std::vector<TokenId>& out) const {
  const auto emittable = [&](std::string_view text) -> TokenId {
    const auto id = vocabulary.find(text);
    return id && is_normal_piece(vocabulary, *id) ? *id : -1;
  };
  const std::size_t start = out.size();
  if (lookup_ == ByteLevelBpe::Lookup::kWholePieces) {
    if (const TokenId whole = emittable(piece); whole >= 0) return out.push_back(whole);
  }
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t end = by_words_ ? word_end(piece, at) : piece.size();
    const std::string_view word = piece.substr(at, end - at);
    at = end;
    scratch.symbols.clear();
    for (std::size_t i = 0; i < word.size();) {
      std::size_t size = decode_utf8(word, i).size;
      if (words_ == Words::kEndInSpace && i + size + 1 == word.size() && word.back() == ' ') ++size;
      scratch.add(i, size, emittable(word.substr(i, size)));
      i += size;
    }
    merge_symbols(scratch, [&](const MergeSymbol& a, const MergeSymbol& b) { return merges_.find(a.id, b.id); });
    for (std::int32_t i = 0; i >= 0;) {
      const MergeSymbol& symbol = scratch.symbols[static_cast<std::size_t>(i)];
      i = symbol.next;
      if (symbol.id >= 0) {
        out.push_back(symbol.id);
      } else {
        bytes_.append(word.substr(symbol.begin, symbol.size), start, out);
      }
    }
  }
}

Bytes CharacterBpe::memory_bytes() const {
  return merges_.memory_bytes() + Bytes{static_cast<std::int64_t>(sizeof(*this))};
}

}  // namespace jericho
