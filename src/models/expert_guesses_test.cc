// Guessing experts: as many as the disk has time for, and none where guesses are wrong.
#include "models/expert_guesses.h"

#include <gtest/gtest.h>

namespace jericho {
namespace {

using std::chrono::milliseconds;

TEST(WorthwhileGuesses, FillTheTimeThatComputingTakes) {
  EXPECT_EQ(worthwhile_guesses(0.010, 0.002, 0.5, 64), 5);
  EXPECT_EQ(worthwhile_guesses(0.010, 0.002, 0.5, 3), 3);
  EXPECT_EQ(worthwhile_guesses(1.0, 1e-9, 0.5, 64), 64);
}

TEST(WorthwhileGuesses, GoOneBeyondWhereItIsLikelyToComeTrue) {
  EXPECT_EQ(worthwhile_guesses(0.0099, 0.002, 0.9, 64), 5);  // 4 reads fit, and nearly another
  EXPECT_EQ(worthwhile_guesses(0.0081, 0.002, 0.9, 64), 4);
  EXPECT_EQ(worthwhile_guesses(0.001, 0.002, 0.6, 64), 1);
  EXPECT_EQ(worthwhile_guesses(0.001, 0.002, 0.4, 64), 0);
}

TEST(WorthwhileGuesses, AreNoneWhereNoneComesTrueOrNothingIsComputed) {
  EXPECT_EQ(worthwhile_guesses(0.0019, 0.002, 0, 64), 0);
  EXPECT_EQ(worthwhile_guesses(0, 0.002, 0.99, 64), 0);
}

// Every number is at least as good as its neighbours: what is saved rises and then falls.
TEST(WorthwhileGuesses, SaveMost) {
  for (const double compute : {0.0, 0.3, 1.0, 2.5, 7.9}) {
    for (const double right : {0.0, 0.2, 0.5, 0.8, 1.0}) {
      const auto saved = [&](Index n) {
        return right * static_cast<double>(n) - std::max(0.0, static_cast<double>(n) - compute);
      };
      const Index n = worthwhile_guesses(compute, 1, right, 100);
      for (Index other = 0; other <= 100; ++other) EXPECT_GE(saved(n), saved(other) - 1e-12) << compute << " " << right;
    }
  }
}

TEST(ExpertGuesses, AreAllWorthwhileUntilSomethingWasMeasured) { EXPECT_EQ(ExpertGuesses{}.worthwhile(12), 12); }

TEST(ExpertGuesses, FollowWhatIsMeasured) {
  ExpertGuesses guesses;
  ExpertGuesses::Clock::time_point now{milliseconds(1000)};
  const auto layer = [&](milliseconds computing) {
    guesses.computes(now);
    now += computing;
    guesses.chooses(now);
    now += milliseconds(8);
    guesses.reads(milliseconds(8), 4);
  };
  layer(milliseconds(6));
  EXPECT_EQ(guesses.worthwhile(64), 3);  // 6 ms at 2 ms an expert
  for (int i = 0; i < 40; ++i) layer(milliseconds(20));
  EXPECT_GE(guesses.worthwhile(64), 9);
  for (int i = 0; i < 80; ++i) layer(milliseconds(1));
  EXPECT_LE(guesses.worthwhile(64), 1);
  for (int i = 0; i < 500; ++i) guesses.came_true(false);
  int made = 0;
  for (int i = 0; i < 310; ++i) made += static_cast<int>(guesses.worthwhile(64));
  EXPECT_EQ(made, 10) << "one is tried now and then";
  for (int i = 0; i < 500; ++i) guesses.came_true(true);
  EXPECT_EQ(guesses.worthwhile(64), 1);
}

TEST(ExpertGuesses, AreAskedAboutBeforehandAndTriedAsOften) {
  ExpertGuesses guesses;
  EXPECT_TRUE(guesses.any_is_worthwhile(64)) << "nothing was measured";
  EXPECT_FALSE(guesses.any_is_worthwhile(0));
  const ExpertGuesses::Clock::time_point now{milliseconds(1000)};
  guesses.reads(milliseconds(8), 4);
  guesses.computes(now);
  guesses.chooses(now + milliseconds(1));
  for (int i = 0; i < 500; ++i) guesses.came_true(false);
  int asked = 0, made = 0;
  const auto layer = [&](bool has_one) {
    if (!guesses.any_is_worthwhile(64)) return;
    ++asked;
    if (has_one) made += static_cast<int>(guesses.worthwhile(64));
  };
  for (int i = 0; i < 310; ++i) layer(true);
  EXPECT_EQ(asked, 10);
  EXPECT_EQ(made, 10);
  for (int i = 0; i < 40; ++i) layer(false);
  EXPECT_EQ(asked, 20) << "from the 31st on a trial is due";
  layer(true);
  EXPECT_EQ(made, 11);
  layer(true);
  EXPECT_EQ(asked, 21);
}

TEST(ExpertGuesses, DoNotCountWhatLiesBetweenTwoPasses) {
  ExpertGuesses guesses;
  const ExpertGuesses::Clock::time_point now{milliseconds(1000)};
  guesses.begins(1);
  guesses.reads(milliseconds(2), 1);
  guesses.computes(now);
  guesses.chooses(now + milliseconds(2));
  guesses.computes(now + milliseconds(3));
  guesses.begins(1);
  guesses.chooses(now + milliseconds(5000));
  EXPECT_EQ(guesses.worthwhile(64), 1);
}

TEST(ExpertGuesses, ForgetHowLongLayersOfMoreTokensTook) {
  ExpertGuesses guesses;
  const ExpertGuesses::Clock::time_point now{milliseconds(1000)};
  guesses.begins(512);
  guesses.reads(milliseconds(2), 1);
  guesses.computes(now);
  guesses.chooses(now + milliseconds(100));
  guesses.begins(1);
  EXPECT_EQ(guesses.worthwhile(64), 64) << "nothing is known of single tokens";
  guesses.computes(now + milliseconds(200));
  guesses.chooses(now + milliseconds(204));
  EXPECT_EQ(guesses.worthwhile(64), 2);
}

}  // namespace
}  // namespace jericho
