// The text being typed and what keys do to it, without a terminal: emacs keys as readline has them, history, several
// lines. The cursor moves by grapheme clusters (Unicode UAX #29, of utf8proc). Start at LineEditor::apply().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/input_history.h"
#include "cli/keys.h"

namespace jericho::cli {

enum class EditOutcome : std::uint8_t {
  kEditing,
  kSubmitted,    // text() is the message
  kInterrupted,  // Ctrl-C with nothing typed
  kEnded,        // Ctrl-D with nothing typed
  kSuspended,
  kClearScreen,
  kTooLong,  // more text than may be was left out
};

// Bytes of the grapheme cluster that begins at `at` < text.size(), which is whole UTF-8.
std::size_t cluster_size(std::string_view text, std::size_t at);

// One thread.
class LineEditor {
 public:
  // At most `most` bytes of text. The history outlives the editor and does not change meanwhile.
  LineEditor(const InputHistory& history, std::size_t most)
      : history_(history), most_(most), entry_(history.entries().size()) {}

  EditOutcome apply(const Key& key);
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::size_t cursor() const { return cursor_; }  // in bytes

 private:
  EditOutcome insert(std::string_view text);
  EditOutcome enter();
  void erase(std::size_t begin, std::size_t end);
  void kill_to_end();
  void up();
  void down();
  void show(std::size_t entry);
  [[nodiscard]] std::size_t line_begin(std::size_t at) const;
  [[nodiscard]] std::size_t line_end(std::size_t at) const;
  [[nodiscard]] std::size_t next(std::size_t at) const;
  [[nodiscard]] std::size_t previous(std::size_t at) const;
  [[nodiscard]] std::size_t word_left() const;
  [[nodiscard]] std::size_t word_right() const;
  [[nodiscard]] std::size_t below(std::size_t line) const;

  const InputHistory& history_;
  std::size_t most_;
  std::string text_{};
  std::size_t cursor_ = 0;
  std::size_t entry_;    // of the history shown; its size: what is being typed
  std::string draft_{};  // that, while an entry is shown
};

}  // namespace jericho::cli
