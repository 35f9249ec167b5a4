// Bytes of a terminal in raw mode as keys: UTF-8 text, control keys, the escape sequences of xterm and its likes
// (ECMA-48 5.4; xterm's ctlseqs), and pasted text between the marks of bracketed paste. Start at KeyDecoder::next().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace jericho::cli {

enum class KeyKind : std::uint8_t {
  kText,  // `text` to insert: typed or pasted, valid UTF-8; lines of a paste end in \n
  kEnter,
  kNewLine,  // Alt-Enter
  kLeft,
  kRight,
  kUp,
  kDown,
  kWordLeft,
  kWordRight,
  kHome,
  kEnd,
  kBackspace,
  kDelete,
  kKillToEnd,    // Ctrl-K
  kKillToStart,  // Ctrl-U
  kKillWord,     // Ctrl-W, Alt-Backspace
  kClearScreen,  // Ctrl-L
  kInterrupt,    // Ctrl-C
  kEndOfInput,   // Ctrl-D
  kSuspend,      // Ctrl-Z
};

struct Key {
  KeyKind kind = KeyKind::kText;
  std::string text{};
};

// One thread. Sequences may come in any number of pieces; those without a meaning here are skipped whole.
class KeyDecoder {
 public:
  void push(std::string_view bytes) { pending_ += bytes; }
  std::optional<Key> next();  // nothing: more bytes are needed

  // No more bytes came for a while: what looks like the beginning of a sequence was the Escape key.
  void settle();
  // Ctrl-C among the bytes, outside of pasted text: forgets all up to it, as a terminal does.
  bool take_interrupt();

 private:
  std::optional<Key> next_pasted();
  std::optional<Key> next_escape(bool& skipped);
  std::optional<Key> next_text();
  Key taken(std::size_t bytes, KeyKind kind);

  std::string pending_{};
  std::size_t searched_ = 0;  // of a paste, bytes without its end
  bool pasting_ = false;
};

}  // namespace jericho::cli
