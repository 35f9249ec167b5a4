// Decoding keys: see keys.h.
#include "cli/keys.h"

#include <algorithm>
#include <array>

#include "text/unicode.h"

namespace jericho::cli {
namespace {

constexpr char kEscape = '\x1b';
constexpr std::string_view kPasteBegins = "\x1b[200~";
constexpr std::string_view kPasteEnds = "\x1b[201~";
constexpr std::size_t kLongestSequence = 64;  // an introducer without an end is text gone wrong

struct Named {
  std::string_view bytes;
  KeyKind kind;
};

// After ESC. Cursor keys come as CSI or, in application mode, as SS3.
constexpr std::array<Named, 29> kSequences = {{
    {"[A", KeyKind::kUp},          {"[B", KeyKind::kDown},         {"[C", KeyKind::kRight},
    {"[D", KeyKind::kLeft},        {"[H", KeyKind::kHome},         {"[F", KeyKind::kEnd},
    {"OA", KeyKind::kUp},          {"OB", KeyKind::kDown},         {"OC", KeyKind::kRight},
    {"OD", KeyKind::kLeft},        {"OH", KeyKind::kHome},         {"OF", KeyKind::kEnd},
    {"[1~", KeyKind::kHome},       {"[7~", KeyKind::kHome},        {"[4~", KeyKind::kEnd},
    {"[8~", KeyKind::kEnd},        {"[3~", KeyKind::kDelete},      {"[1;5C", KeyKind::kWordRight},
    {"[1;5D", KeyKind::kWordLeft}, {"[1;3C", KeyKind::kWordRight}, {"[1;3D", KeyKind::kWordLeft},
    {"f", KeyKind::kWordRight},    {"b", KeyKind::kWordLeft},      {"\r", KeyKind::kNewLine},
    {"\n", KeyKind::kNewLine},     {"\x7f", KeyKind::kKillWord},   {"\x08", KeyKind::kKillWord},
    {"[13;2u", KeyKind::kNewLine}, {"[13;3u", KeyKind::kNewLine},
}};

constexpr std::array<Named, 17> kControls = {{
    {"\x01", KeyKind::kHome},
    {"\x02", KeyKind::kLeft},
    {"\x03", KeyKind::kInterrupt},
    {"\x04", KeyKind::kEndOfInput},
    {"\x05", KeyKind::kEnd},
    {"\x06", KeyKind::kRight},
    {"\x08", KeyKind::kBackspace},
    {"\x0a", KeyKind::kEnter},
    {"\x0b", KeyKind::kKillToEnd},
    {"\x0c", KeyKind::kClearScreen},
    {"\x0d", KeyKind::kEnter},
    {"\x0e", KeyKind::kDown},
    {"\x10", KeyKind::kUp},
    {"\x15", KeyKind::kKillToStart},
    {"\x17", KeyKind::kKillWord},
    {"\x1a", KeyKind::kSuspend},
    {"\x7f", KeyKind::kBackspace},
}};

template <std::size_t n>
std::optional<KeyKind> find(const std::array<Named, n>& keys, std::string_view bytes) {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const Named& key) { return key.bytes == bytes; });
  return found != keys.end() ? std::optional(found->kind) : std::nullopt;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; }

// Bytes of the escape sequence that `text` begins with; 0: it is not whole yet.
std::size_t sequence_length(std::string_view text) {
  if (text.size() < 2) return 0;
  if (text[1] == 'O') return text.size() < 3 ? 0 : 3;
  if (text[1] != '[') return text[1] == kEscape ? 1 : 2;
  for (std::size_t i = 2; i < std::min(text.size(), kLongestSequence); ++i) {
    if (text[i] >= 0x40 && text[i] <= 0x7e) return i + 1;
    if (is_control(text[i])) return i;  // cut off: the control key counts
  }
  return text.size() < kLongestSequence ? 0 : kLongestSequence;
}

}  // namespace

Key KeyDecoder::taken(std::size_t bytes, KeyKind kind) {
  pending_.erase(0, bytes);
  return {kind, {}};
}

std::optional<Key> KeyDecoder::next() {
  while (!pending_.empty()) {
    if (pasting_) return next_pasted();
    if (pending_.front() == kEscape) {
      bool skipped = false;
      const auto key = next_escape(skipped);
      if (key || !skipped) return key;
      continue;
    }
    if (!is_control(pending_.front()) || pending_.front() == '\t') return next_text();
    if (const auto kind = find(kControls, {pending_.data(), 1})) return taken(1, *kind);
    pending_.erase(0, 1);
  }
  return std::nullopt;
}

std::optional<Key> KeyDecoder::next_pasted() {
  const std::size_t end = pending_.find(kPasteEnds, searched_);
  if (end == std::string::npos) {
    searched_ = pending_.size() - std::min(pending_.size(), kPasteEnds.size() - 1);
    return std::nullopt;
  }
  Key key;
  append_as_utf8(replace_all(replace_all(std::string_view(pending_).substr(0, end), "\r\n", "\n"), "\r", "\n"),
                 key.text);
  pending_.erase(0, end + kPasteEnds.size());
  searched_ = 0;
  pasting_ = false;
  return key;
}

std::optional<Key> KeyDecoder::next_escape(bool& skipped) {
  const std::size_t size = sequence_length(pending_);
  if (size == 0) return std::nullopt;
  const std::string sequence = pending_.substr(0, size);
  pending_.erase(0, size);
  if (sequence == kPasteBegins) {
    pasting_ = skipped = true;
    return std::nullopt;
  }
  if (const auto kind = find(kSequences, std::string_view(sequence).substr(1))) return Key{*kind, {}};
  skipped = true;
  return std::nullopt;
}

std::optional<Key> KeyDecoder::next_text() {
  std::size_t run = 0;
  while (run < pending_.size() && (!is_control(pending_[run]) || pending_[run] == '\t')) ++run;
  const std::string_view text = std::string_view(pending_).substr(0, run);
  const std::size_t whole = run < pending_.size() ? run : complete_utf8_prefix(text);
  if (whole == 0) return std::nullopt;
  Key key;
  append_as_utf8(text.substr(0, whole), key.text);
  pending_.erase(0, whole);
  return key;
}

void KeyDecoder::settle() {
  if (!pasting_ && pending_ == std::string_view(&kEscape, 1)) pending_.clear();
}

bool KeyDecoder::take_interrupt() {
  bool inside = pasting_;
  std::size_t after = 0;  // the last Ctrl-C
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const std::string_view rest = std::string_view(pending_).substr(i);
    if (rest.starts_with(kPasteBegins)) inside = true;
    if (rest.starts_with(kPasteEnds)) inside = false;
    if (rest.front() == '\x03' && !inside) after = i + 1;
  }
  if (after == 0) return false;
  pending_.erase(0, after);
  pasting_ = false;
  searched_ = 0;
  return true;
}

}  // namespace jericho::cli
