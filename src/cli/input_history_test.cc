// The history file, and files written whole.
#include "cli/input_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/read_text.h"
#include "cli/write_file.h"
#include "memory/temp_folder.h"

namespace jericho::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::size_t files_in(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(InputHistory, IsReadBackWithLinesAndBackslashes) {
  const TempFolder folder;
  const auto file = folder.path() / "deep/er/history";
  InputHistory history(file);
  history.add("one\ntwo \\n three\\");
  history.add("\xF0\x9F\xA6\x99");
  EXPECT_THAT(InputHistory(file).entries(), ElementsAre("one\ntwo \\n three\\", "\xF0\x9F\xA6\x99"));
  EXPECT_EQ(std::filesystem::status(file).permissions() & std::filesystem::perms(0777), std::filesystem::perms(0600));
}

TEST(InputHistory, LeavesOutBlanksRepetitionsAndTheVeryLong) {
  InputHistory history;
  for (const std::string& entry :
       {std::string("a"), std::string(" \n"), std::string("a"), std::string(3000, 'x'), std::string("b")})
    history.add(entry);
  EXPECT_THAT(history.entries(), ElementsAre("a", "b"));
}

TEST(InputHistory, KeepsTheNewestOfMany) {
  const TempFolder folder;
  const auto file = folder.path() / "history";
  InputHistory history(file);
  for (std::size_t i = 0; i < InputHistory::kMost + 5; ++i) history.add(std::to_string(i));
  EXPECT_EQ(history.entries().front(), "5");
  const InputHistory again(file);
  EXPECT_EQ(again.entries(), history.entries());
  const std::string text = read_text_file(file);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), static_cast<std::ptrdiff_t>(InputHistory::kMost));
}

TEST(InputHistory, ReadsAnyBytes) {
  const TempFolder folder;
  const auto file = folder.path() / "history";
  write_file_atomically(file, std::string_view("a\xFF\n\n\\\n\0b", 8));
  EXPECT_EQ(InputHistory(file).entries().size(), 3u);
}

TEST(InputHistory, SaysOnceThatItCannotBeKept) {
  const TempFolder folder;
  InputHistory history(folder.path());  // a folder
  EXPECT_THAT(history.take_complaint().value_or(""), HasSubstr("not kept"));
  history.add("a");
  EXPECT_EQ(history.take_complaint(), std::nullopt);
  EXPECT_THAT(history.entries(), ElementsAre("a"));
}

TEST(WriteFile, ReplacesTheOldFileAndLeavesNothingBeside) {
  const TempFolder folder;
  write_file_atomically(folder.path() / "f", "old and longer");
  write_file_atomically(folder.path() / "f", "new");
  EXPECT_EQ(read_text_file(folder.path() / "f"), "new");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(WriteFile, RefusesFoldersAndWhatIsNotThere) {
  const TempFolder folder;
  for (const auto& path : {folder.path(), folder.path() / "absent/f", std::filesystem::path("/dev/null")}) {
    try {
      write_file_atomically(path, "x");
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
      EXPECT_THAT(error.what(), HasSubstr(path.string()));
    }
  }
  EXPECT_EQ(files_in(folder.path()), 0u);
}

}  // namespace
}  // namespace jericho::cli
