// Drawing the line being typed: see line_view.h.
#include "cli/line_view.h"

#include <utf8proc.h>

#include <algorithm>

#include <fmt/format.h>

#include "cli/line_editor.h"
#include "text/unicode.h"

namespace jericho::cli {
namespace {

// A grapheme cluster as terminals show it: as wide as its widest code point, a control character as ^X.
struct Shown {
  std::string text{};
  std::size_t columns = 0;
};

Shown shown(std::string_view cluster) {
  const auto first = static_cast<unsigned char>(cluster.front());
  if (first < 0x20 || first == 0x7f) return {{'^', static_cast<char>(first ^ 0x40)}, 2};
  Shown result{std::string(cluster), 0};
  for (std::size_t at = 0; at < cluster.size();) {
    const CodePoint code = decode_utf8(cluster, at);
    if (code.value >= 0x80 && code.value < 0xa0) return {std::string(kReplacementCharacter), 1};  // C1 steers terminals
    const int width = utf8proc_charwidth(static_cast<utf8proc_int32_t>(code.value));
    result.columns = std::max(result.columns, static_cast<std::size_t>(std::max(width, 0)));
    at += code.size;
  }
  return result;
}

std::size_t width_of(std::string_view ascii) { return ascii.size(); }

}  // namespace

Layout lay_out(std::string_view prompt, std::string_view text, std::size_t cursor, std::size_t columns) {
  const std::size_t most = std::max<std::size_t>(columns, width_of(prompt) + 2);
  const std::string dots = std::string(width_of(prompt) - 1, '.') + " ";
  Layout layout;
  layout.rows.emplace_back(prompt);
  std::size_t column = width_of(prompt);
  const auto new_row = [&](std::string_view begin) {
    layout.rows.emplace_back(begin);
    column = width_of(begin);
  };
  const auto mark_cursor = [&] {
    layout.cursor_row = layout.rows.size() - 1;
    layout.cursor_column = column;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = cluster_size(text, at);
    if (text[at] == '\n') {
      if (at == cursor) mark_cursor();
      new_row(dots);
    } else {
      const Shown next = shown(text.substr(at, size));
      if (column + next.columns > most) new_row("");
      if (at == cursor) mark_cursor();
      layout.rows.back() += next.text;
      column += next.columns;
    }
    at += size;
  }
  if (cursor < text.size()) return layout;
  if (column == most) new_row("");  // where the next character would go
  mark_cursor();
  return layout;
}

std::string LineView::draw(std::string_view text, std::size_t cursor, ScreenSize screen) {
  const Layout layout = lay_out(prompt_, text, cursor, screen.columns);
  const std::size_t height = std::min(layout.rows.size(), std::max<std::size_t>(screen.rows, 1));
  const std::size_t first = std::min(layout.cursor_row, layout.rows.size() - height);
  std::string out = "\r";
  if (cursor_row_ > 0) out += fmt::format("\x1b[{}A", cursor_row_);
  out += "\x1b[J";
  for (std::size_t i = 0; i < height; ++i) {
    if (i > 0) out += "\r\n";
    out += layout.rows[first + i];
  }
  cursor_row_ = layout.cursor_row - first;
  const std::size_t up = height - 1 - cursor_row_;
  if (up > 0) out += fmt::format("\x1b[{}A", up);
  out += "\r";
  if (layout.cursor_column > 0) out += fmt::format("\x1b[{}C", layout.cursor_column);
  return out;
}

std::string LineView::finish(std::string_view text, ScreenSize screen) {
  std::string out = draw(text, text.size(), screen) + "\r\n";
  forget();
  return out;
}

}  // namespace jericho::cli
