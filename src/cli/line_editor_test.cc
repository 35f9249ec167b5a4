// Editing by keys as they come from a terminal.
#include "cli/line_editor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace jericho::cli {
namespace {

constexpr std::string_view kUp = "\x1b[A", kDown = "\x1b[B", kLeft = "\x1b[D", kRight = "\x1b[C", kDelete = "\x1b[3~";

class LineEditorTest : public testing::Test {
 protected:
  EditOutcome type(std::string_view bytes) {
    KeyDecoder decoder;
    decoder.push(bytes);
    EditOutcome outcome = EditOutcome::kEditing;
    while (const auto key = decoder.next()) outcome = editor_.apply(*key);
    return outcome;
  }
  void type_all(std::initializer_list<std::string_view> parts) {
    for (const std::string_view part : parts) type(part);
  }
  // The text with | at the cursor.
  [[nodiscard]] std::string shown() const {
    std::string text = editor_.text();
    return text.insert(editor_.cursor(), "|");
  }
  static InputHistory history() {
    InputHistory history;
    history.add("first");
    history.add("second\nline");
    return history;
  }

  const InputHistory history_ = history();
  LineEditor editor_{history_, 100};
};

TEST_F(LineEditorTest, InsertsAtTheCursor) {
  type_all({"helo", kLeft, "l"});
  EXPECT_EQ(shown(), "hell|o");
}

TEST_F(LineEditorTest, SubmitsOnEnterWhereverTheCursorIs) {
  EXPECT_EQ(type("hello\x01\r"), EditOutcome::kSubmitted);
  EXPECT_EQ(editor_.text(), "hello");
}

TEST_F(LineEditorTest, MovesByWholeCharactersAndTheirMarks) {
  type_all({"ae\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB", kLeft, kLeft,
            "|"});  // a, e + acute, a person with a computer
  EXPECT_EQ(editor_.text(), "a|e\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB");
}

TEST_F(LineEditorTest, ErasesWholeCharacters) {
  type_all({"x\xC3\xA9y\x7f\x7f"});
  EXPECT_EQ(shown(), "x|");
  type_all({"\xF0\x9F\xA6\x99z", kLeft, kLeft, kDelete});
  EXPECT_EQ(shown(), "x|z");
}

TEST_F(LineEditorTest, DoesNothingBeyondTheEnds) {
  type_all({kLeft, "\x7f", kDelete, "a", kRight, kDelete, "\x0b"});
  EXPECT_EQ(shown(), "a|");
}

TEST_F(LineEditorTest, KillsToTheEndsAndByWords) {
  type_all({"one two  three\x17"});
  EXPECT_EQ(shown(), "one two  |");
  type("\x17");
  EXPECT_EQ(shown(), "one |");
  type_all(
      {"x\x01\x1b"
       "f\x0b"});
  EXPECT_EQ(shown(), "one|");
  type("\x15");
  EXPECT_EQ(shown(), "|");
}

TEST_F(LineEditorTest, ContinuesAfterABackslashAndAltEnter) {
  EXPECT_EQ(type("one\\\r"), EditOutcome::kEditing);
  EXPECT_EQ(type("two\x1b\rthree\r"), EditOutcome::kSubmitted);
  EXPECT_EQ(editor_.text(), "one\ntwo\nthree");
}

TEST_F(LineEditorTest, TakesAPasteAsOneTextAndDoesNotSubmitIt) {
  EXPECT_EQ(type("\x1b[200~one\rtwo\r\x1b[201~"), EditOutcome::kEditing);
  EXPECT_EQ(shown(), "one\ntwo\n|");
}

TEST_F(LineEditorTest, MovesBetweenLinesBeforeItReachesTheHistory) {
  type_all({"ab\x1b\rcdef", kUp});
  EXPECT_EQ(shown(), "ab|\ncdef");
  type_all({"\x01", kDown});
  EXPECT_EQ(shown(), "ab\n|cdef");
  type_all({kUp, kUp});
  EXPECT_EQ(editor_.text(), "second\nline");
}

TEST_F(LineEditorTest, WalksTheHistoryAndBackToTheDraft) {
  type_all({"draft", kUp, kUp, kUp, kUp});
  EXPECT_EQ(shown(), "first|");
  type_all({kDown, kDown});
  EXPECT_EQ(shown(), "draft|");
  type(kDown);
  EXPECT_EQ(shown(), "draft|");
}

TEST_F(LineEditorTest, ClearsWithCtrlCThenSaysSo) {
  EXPECT_EQ(type("abc\x03"), EditOutcome::kEditing);
  EXPECT_EQ(shown(), "|");
  EXPECT_EQ(type("\x03"), EditOutcome::kInterrupted);
}

TEST_F(LineEditorTest, EndsWithCtrlDOnlyWhenEmpty) {
  EXPECT_EQ(type("ab\x01\x04"), EditOutcome::kEditing);
  EXPECT_EQ(shown(), "|b");
  EXPECT_EQ(type("\x04\x04"), EditOutcome::kEnded);
}

TEST_F(LineEditorTest, LeavesOutWhatIsTooLong) {
  type(std::string(99, 'x'));
  EXPECT_EQ(type("yz"), EditOutcome::kTooLong);
  EXPECT_EQ(editor_.text(), std::string(99, 'x'));
  EXPECT_EQ(type("y"), EditOutcome::kEditing);
}

}  // namespace
}  // namespace jericho::cli
