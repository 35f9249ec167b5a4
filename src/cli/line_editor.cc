// Editing: see line_editor.h.
#include "cli/line_editor.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"

namespace jericho::cli {

std::size_t cluster_size(std::string_view text, std::size_t at) {
  CodePoint code = decode_utf8(text, at);
  std::size_t end = at + code.size;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const CodePoint following = decode_utf8(text, end);
    const auto left = static_cast<utf8proc_int32_t>(code.value);
    if (utf8proc_grapheme_break_stateful(left, static_cast<utf8proc_int32_t>(following.value), &state)) break;
    end += following.size;
    code = following;
  }
  return end - at;
}

std::size_t LineEditor::line_begin(std::size_t at) const {
  return at == 0 ? 0 : text_.rfind('\n', at - 1) + 1;  // npos + 1 is 0
}

std::size_t LineEditor::line_end(std::size_t at) const { return std::min(text_.find('\n', at), text_.size()); }

std::size_t LineEditor::next(std::size_t at) const { return at < text_.size() ? at + cluster_size(text_, at) : at; }

std::size_t LineEditor::previous(std::size_t at) const {
  if (at == 0) return 0;
  std::size_t begin = line_begin(at);
  if (begin == at) return at - 1;  // the line break
  while (next(begin) < at) begin = next(begin);
  return begin;
}

std::size_t LineEditor::word_left() const {
  std::size_t at = cursor_;
  const auto space = [&](std::size_t i) { return is_white_space(decode_utf8_before(text_, i).value); };
  const auto back = [&] { at -= decode_utf8_before(text_, at).size; };
  while (at > 0 && space(at)) back();
  while (at > 0 && !space(at)) back();
  return at;
}

std::size_t LineEditor::word_right() const {
  std::size_t at = cursor_;
  const auto space = [&] { return is_white_space(decode_utf8(text_, at).value); };
  while (at < text_.size() && space()) at = next(at);
  while (at < text_.size() && !space()) at = next(at);
  return at;
}

EditOutcome LineEditor::insert(std::string_view text) {
  if (text_.size() + text.size() > most_) return EditOutcome::kTooLong;
  text_.insert(cursor_, text);
  cursor_ += text.size();
  return EditOutcome::kEditing;
}

void LineEditor::erase(std::size_t begin, std::size_t end) {
  text_.erase(begin, end - begin);
  cursor_ = begin;
}

// At the end of a line, the line break.
void LineEditor::kill_to_end() {
  const std::size_t end = line_end(cursor_);
  erase(cursor_, end > cursor_ ? end : next(cursor_));
}

// A backslash at the end continues on a new line.
EditOutcome LineEditor::enter() {
  if (!text_.ends_with('\\')) return EditOutcome::kSubmitted;
  text_.back() = '\n';
  cursor_ = text_.size();
  return EditOutcome::kEditing;
}

void LineEditor::show(std::size_t entry) {
  const std::size_t size = history_.entries().size();
  if (entry_ == size) draft_ = text_;
  entry_ = entry;
  text_ = entry == size ? draft_ : history_.entries()[entry];
  cursor_ = text_.size();
}

// The place in the line that begins at `line` as many clusters from its begin as the cursor is from that of its own.
std::size_t LineEditor::below(std::size_t line) const {
  std::size_t at = line;
  for (std::size_t i = line_begin(cursor_); i < cursor_ && at < line_end(line); i = next(i)) at = next(at);
  return at;
}

void LineEditor::up() {
  const std::size_t line = line_begin(cursor_);
  if (line > 0) {
    cursor_ = below(line_begin(line - 1));
  } else if (entry_ > 0) {
    show(entry_ - 1);
  }
}

void LineEditor::down() {
  const std::size_t end = line_end(cursor_);
  if (end < text_.size()) {
    cursor_ = below(end + 1);
  } else if (entry_ < history_.entries().size()) {
    show(entry_ + 1);
  }
}

EditOutcome LineEditor::apply(const Key& key) {
  switch (key.kind) {
    case KeyKind::kText: return insert(key.text);
    case KeyKind::kEnter: return enter();
    case KeyKind::kNewLine: return insert("\n");
    case KeyKind::kLeft: cursor_ = previous(cursor_); break;
    case KeyKind::kRight: cursor_ = next(cursor_); break;
    case KeyKind::kUp: up(); break;
    case KeyKind::kDown: down(); break;
    case KeyKind::kWordLeft: cursor_ = word_left(); break;
    case KeyKind::kWordRight: cursor_ = word_right(); break;
    case KeyKind::kHome: cursor_ = line_begin(cursor_); break;
    case KeyKind::kEnd: cursor_ = line_end(cursor_); break;
    case KeyKind::kBackspace: erase(previous(cursor_), cursor_); break;
    case KeyKind::kDelete: text_.erase(cursor_, next(cursor_) - cursor_); break;
    case KeyKind::kKillToEnd: kill_to_end(); break;
    case KeyKind::kKillToStart: erase(line_begin(cursor_), cursor_); break;
    case KeyKind::kKillWord: erase(word_left(), cursor_); break;
    case KeyKind::kClearScreen: return EditOutcome::kClearScreen;
    case KeyKind::kSuspend: return EditOutcome::kSuspended;
    case KeyKind::kInterrupt:
      if (text_.empty()) return EditOutcome::kInterrupted;
      erase(0, text_.size());
      entry_ = history_.entries().size();
      break;
    case KeyKind::kEndOfInput:
      if (text_.empty()) return EditOutcome::kEnded;
      text_.erase(cursor_, next(cursor_) - cursor_);
      break;
  }
  return EditOutcome::kEditing;
}

}  // namespace jericho::cli
