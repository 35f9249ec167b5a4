// The machine's figures are kept in the user's cache, and only the right ones are found there again.
#include "cli/machine_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "memory/temp_folder.h"

namespace jericho::cli {
namespace {

using ::testing::HasSubstr;

class MachineFile : public ::testing::Test {
 protected:
  MachineFile() { setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1); }
  ~MachineFile() override { unsetenv("XDG_CACHE_HOME"); }

  static MachineRecord record() {
    MachineRecord made{.identity = machine_identity(3, CpuPath::kAvx2), .date = "2026-11-28"};
    made.set(MachineFigure::kDramRead, 40.5, 0.02);
    return made;
  }

  TempFolder folder_;
};

TEST_F(MachineFile, FindsWhatWasKept) {
  const auto file = keep_record(record());
  EXPECT_EQ(file.parent_path(), folder_.path() / "jericho");
  EXPECT_THAT(file.filename().string(), ::testing::MatchesRegex("machine-[a-z0-9-]+-avx2-t3\\.json"));
  const KeptRecord kept = kept_record(record().identity);
  ASSERT_TRUE(kept.record.has_value());
  EXPECT_EQ(kept.note, "");
  EXPECT_DOUBLE_EQ((*kept.record)[MachineFigure::kDramRead]->value, 40.5);
}

TEST_F(MachineFile, ReplacesWhatWasKeptBefore) {
  keep_record(record());
  MachineRecord newer = record();
  newer.set(MachineFigure::kDramRead, 50, 0);
  keep_record(newer);
  EXPECT_DOUBLE_EQ((*kept_record(newer.identity).record)[MachineFigure::kDramRead]->value, 50);
}

TEST_F(MachineFile, IsAbsentWithoutANoteWhereNothingWasKept) {
  const KeptRecord kept = kept_record(record().identity);
  EXPECT_FALSE(kept.record.has_value());
  EXPECT_EQ(kept.note, "");
}

TEST_F(MachineFile, OfOtherThreadsOrAnotherPathIsAnother) {
  keep_record(record());
  EXPECT_FALSE(kept_record(machine_identity(2, CpuPath::kAvx2)).record.has_value());
  EXPECT_FALSE(kept_record(machine_identity(3, CpuPath::kScalar)).record.has_value());
}

TEST_F(MachineFile, OfAnotherMachineIsNotUsedAndStays) {
  MachineRecord other = record();
  other.identity.memory = other.identity.memory * 4;
  const auto file = keep_record(other);
  const KeptRecord kept = kept_record(record().identity);
  EXPECT_FALSE(kept.record.has_value());
  EXPECT_THAT(kept.note,
              ::testing::AllOf(HasSubstr(file.string()), HasSubstr("another machine's"), HasSubstr("memory")));
  EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(MachineFile, ThatIsDamagedIsNotUsed) {
  const auto file = keep_record(record());
  for (const std::string& text : {std::string("{\"version\": 1"), std::string(), std::string(1 << 20, ' ')}) {
    std::ofstream(file, std::ios::trunc) << text;
    const KeptRecord kept = kept_record(record().identity);
    EXPECT_FALSE(kept.record.has_value());
    EXPECT_THAT(kept.note, HasSubstr(file.string()));
  }
}

TEST_F(MachineFile, ThatCannotBeKeptIsAnError) {
  std::ofstream(folder_.path() / "jericho") << "a file where the folder should be";
  EXPECT_THROW(keep_record(record()), Error);
  EXPECT_FALSE(kept_record(record().identity).record.has_value());
}

TEST_F(MachineFile, LiesInTheHomeFolderWhereNoCacheIsNamed) {
  unsetenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string before = home == nullptr ? "" : home;
  setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(cache_folder(), "/home/someone/.cache/jericho");
  setenv("XDG_CACHE_HOME", "relative", 1);  // which the specification ignores
  EXPECT_EQ(cache_folder(), "/home/someone/.cache/jericho");
  unsetenv("HOME");
  EXPECT_EQ(cache_folder(), std::nullopt);
  EXPECT_THROW(keep_record(record()), Error);
  if (home != nullptr) setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace jericho::cli
