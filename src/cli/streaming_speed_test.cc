// What a pass takes that reads weights: arithmetic of three speeds.
#include "cli/streaming_speed.h"

#include <gtest/gtest.h>

namespace jericho::cli {
namespace {

TEST(SecondsOfPass, AreThoseOfTheDiskWhereTheThreadsDoLittle) {
  EXPECT_DOUBLE_EQ(seconds_of_pass({.disk = 4e9, .disk_busy = 4e9, .packing = 1e12}, 0, 8e9), 2);
}

TEST(SecondsOfPass, AreThoseOfTheThreadsWhereTheDiskKeepsUp) {
  EXPECT_DOUBLE_EQ(seconds_of_pass({.disk = 4e9, .disk_busy = 2e9, .packing = 4e9}, 1, 4e9), 2);
}

TEST(SecondsOfPass, AddWhatABusyDiskHasNotGivenYet) {
  // Two seconds of work, in which 4 of 8 GB come; the rest takes one more.
  EXPECT_DOUBLE_EQ(seconds_of_pass({.disk = 4e9, .disk_busy = 2e9, .packing = 8e9}, 1, 8e9), 3);
}

}  // namespace
}  // namespace jericho::cli
