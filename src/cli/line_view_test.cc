// What the screen shows of the line being typed.
#include "cli/line_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace jericho::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

void expect_cursor(const Layout& layout, std::size_t row, std::size_t column) {
  EXPECT_EQ(layout.cursor_row, row);
  EXPECT_EQ(layout.cursor_column, column);
}

TEST(LineLayout, PutsThePromptBeforeTheText) {
  const Layout layout = lay_out("> ", "abc", 1, 80);
  EXPECT_THAT(layout.rows, ElementsAre("> abc"));
  expect_cursor(layout, 0, 3);
}

TEST(LineLayout, WrapsAtTheWidthAndMovesOnWhenARowIsFull) {
  const Layout layout = lay_out("> ", "abcdefgh", 8, 6);
  EXPECT_THAT(layout.rows, ElementsAre("> abcd", "efgh"));
  expect_cursor(layout, 1, 4);
  const Layout full = lay_out("> ", "abcd", 4, 6);
  EXPECT_THAT(full.rows, ElementsAre("> abcd", ""));
  expect_cursor(full, 1, 0);
}

TEST(LineLayout, MarksLinesWithDots) {
  const Layout layout = lay_out("> ", "one\ntwo", 3, 80);
  EXPECT_THAT(layout.rows, ElementsAre("> one", ". two"));
  expect_cursor(layout, 0, 5);
}

TEST(LineLayout, CountsWideAndCombiningCharacters) {
  expect_cursor(lay_out("> ",
                        "\xE7\x8C\xAB"
                        "e\xCC\x81",
                        6, 80),
                0, 5);                                                                             // 猫é
  EXPECT_THAT(lay_out("> ", "abc\xE7\x8C\xAB", 3, 6).rows, ElementsAre("> abc", "\xE7\x8C\xAB"));  // does not fit half
}

TEST(LineLayout, ShowsControlCharactersHarmless) {
  EXPECT_THAT(lay_out("> ", "a\x1b[A\tb\xC2\x9B", 0, 80).rows, ElementsAre("> a^[[A^Ib\xEF\xBF\xBD"));
}

TEST(LineLayout, SurvivesAScreenNarrowerThanThePrompt) { EXPECT_GE(lay_out("prompt> ", "abc", 3, 1).rows.size(), 1u); }

TEST(LineView, ReturnsToWhereItBegan) {
  LineView view("> ");
  EXPECT_EQ(view.draw("abcdefgh", 8, {6, 24}), "\r\x1b[J> abcd\r\nefgh\r\x1b[4C");
  EXPECT_EQ(view.draw("ab", 2, {6, 24}), "\r\x1b[1A\x1b[J> ab\r\x1b[4C");
}

TEST(LineView, LeavesTheCursorInTheMiddle) {
  LineView view("> ");
  EXPECT_EQ(view.draw("a\nb", 0, {6, 24}), "\r\x1b[J> a\r\n. b\x1b[1A\r\x1b[2C");
}

TEST(LineView, ShowsThePartOfAHighTextWithTheCursor) {
  LineView view("> ");
  EXPECT_THAT(view.draw("1\n2\n3\n4\n5", 9, {80, 3}), AllOf(HasSubstr("3\r\n. 4\r\n. 5"), Not(HasSubstr("2"))));
  const std::string top = view.draw("1\n2\n3\n4\n5", 0, {80, 3});
  EXPECT_THAT(top, AllOf(HasSubstr("> 1\r\n. 2\r\n. 3"), Not(HasSubstr("4"))));
}

TEST(LineView, FinishesBelowTheText) {
  LineView view("> ");
  view.draw("ab", 0, {80, 24});
  EXPECT_THAT(view.finish("ab", {80, 24}), testing::EndsWith("> ab\r\x1b[4C\r\n"));
}

}  // namespace
}  // namespace jericho::cli
