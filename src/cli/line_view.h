// Shows a text being typed on a terminal: wraps it, marks control characters, and redraws it in place by relative
// movements alone (ECMA-48 CUU, CUF, ED), so that it works wherever on the screen it began. Start at lay_out().
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace jericho::cli {

struct ScreenSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

struct Layout {
  std::vector<std::string> rows{};  // none wider than the screen; at least one
  std::size_t cursor_row = 0;
  std::size_t cursor_column = 0;
};

// `text` with `prompt` before its first line and dots below it before the others; `cursor` in bytes.
Layout lay_out(std::string_view prompt, std::string_view text, std::size_t cursor, std::size_t columns);

// One thread; one text at a time.
class LineView {
 public:
  explicit LineView(std::string prompt) : prompt_(std::move(prompt)) {}

  // What to write so that the screen shows `text` where it showed the text before. Of a text higher than the screen, as
  // many rows as fit around the cursor.
  std::string draw(std::string_view text, std::size_t cursor, ScreenSize screen);
  // The same for the last time: the cursor goes below the text.
  std::string finish(std::string_view text, ScreenSize screen);
  void forget() { cursor_row_ = 0; }  // the screen was cleared

 private:
  std::string prompt_;
  std::size_t cursor_row_ = 0;  // below the first row drawn
};

}  // namespace jericho::cli
