// The pool runs every part once, reports failures, and survives them.
#include "base/thread_pool.h"

#include <pthread.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xmmintrin.h>

#include "base/error.h"

namespace jericho {
namespace {

TEST(ThreadPool, RunsEveryPartOnceForAnyNumberOfThreads) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (const Index parts : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(parts));
      pool.run(parts, [&](Index part, int worker) {
        ASSERT_LT(worker, threads);
        ++calls[static_cast<std::size_t>(part)];
      });
      for (const auto& count : calls) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, SurvivesWorkersThatComeAndGoAtEveryMoment) {
  ThreadPool pool(8);  // more than there are cores: some wake too late, some are still at work when the parts are gone
  std::atomic<int> ran = 0;
  constexpr int kRuns = 200'000;
  for (int i = 0; i < kRuns; ++i) pool.run(3, [&](Index, int) { ran.fetch_add(1); });
  EXPECT_EQ(ran, 3 * kRuns);
}

TEST(ThreadPool, ThrowsTheFailureOfABodyAndGoesOn) {
  ThreadPool pool(4);
  EXPECT_THROW(pool.run(100,
                        [](Index part, int) {
                          if (part == 50) throw std::runtime_error("part 50");
                        }),
               std::runtime_error);
  std::atomic<int> ran = 0;
  pool.run(10, [&](Index, int) { ++ran; });
  EXPECT_EQ(ran, 10);
}

TEST(ThreadPool, GoesOnAfterAFailureOfEveryPart) {
  ThreadPool pool(4);
  for (int i = 0; i < 100; ++i) {
    EXPECT_THROW(pool.run(8, [](Index part, int) { throw std::out_of_range(std::to_string(part)); }),
                 std::out_of_range);
  }
  std::atomic<int> ran = 0;
  pool.run(10, [&](Index, int) { ++ran; });
  EXPECT_EQ(ran, 10);
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than workers spin
    std::atomic<int> begun = 0;
    pool.run(2, [&](Index, int) {  // ends only if both parts are at work at the same time
      ++begun;
      while (begun < 2) std::this_thread::yield();
    });
    ASSERT_EQ(begun, 2);
  }
}

TEST(ThreadPool, UsesAllThreadsAlsoWhereThereAreFewerCores) {
  ThreadPool pool(16);
  std::atomic<int> begun = 0;
  pool.run(16, [&](Index, int) {
    ++begun;
    while (begun < 16) std::this_thread::yield();
  });
  EXPECT_EQ(begun, 16);
}

TEST(ThreadPool, UsesNoProcessorWhileNothingRuns) {
  ThreadPool pool(4);
  pool.run(4, [](Index, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // workers spin for a moment, then sleep
  const std::clock_t before = std::clock();                    // of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 100);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map terabytes of address space
// Ends the process: with 0 if the pool said in good order that it could not start its threads.
[[noreturn]] void start_too_many_threads() {
  constexpr rlim_t kRoom = rlim_t{256} << 20;  // of addresses: for less than 512 stacks of 512 KiB
  setrlimit(RLIMIT_AS, std::array{rlimit{kRoom, kRoom}}.data());
  try {
    const ThreadPool pool(2000);
    std::_Exit(1);
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
    std::atomic<int> ran = 0;
    ThreadPool(2).run(10, [&](Index, int) { ++ran; });  // the threads that did start have given their stacks back
    std::_Exit(error.kind() == ErrorKind::kIo && ran == 10 ? 0 : 2);
  }
}

TEST(ThreadPoolDeathTest, SaysWhichThreadCouldNotBeStartedAndWhatToDo) {
  const std::string before = GTEST_FLAG_GET(death_test_style);
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(start_too_many_threads(), testing::ExitedWithCode(0), "thread [0-9]+ of 2000 .*fewer with -t");
  GTEST_FLAG_SET(death_test_style, before);
}
#endif

std::size_t default_stack_bytes() {
  pthread_attr_t defaults;
  std::size_t bytes = 0;
  pthread_getattr_default_np(&defaults);
  pthread_attr_getstacksize(&defaults, &bytes);
  pthread_attr_destroy(&defaults);
  return bytes;
}

TEST(ThreadPool, LeavesTheStacksOfOtherThreadsAsTheyWere) {
  const std::size_t before = default_stack_bytes();
  const ThreadPool pool(3);
  EXPECT_EQ(default_stack_bytes(), before);
}

TEST(ThreadPool, SeesWhatWasWrittenBeforeARunAndShowsWhatTheRunWrote) {
  ThreadPool pool(3);
  std::vector<Index> values(64);
  for (Index round = 1; round <= 2000; ++round) {  // plain memory: the thread sanitizer watches
    values[0] = round;
    pool.run(63, [&](Index part, int) { values[static_cast<std::size_t>(part) + 1] = values[0] + part; });
    for (Index part = 0; part < 63; ++part) ASSERT_EQ(values[static_cast<std::size_t>(part) + 1], round + part);
  }
}

TEST(ThreadPool, FlushesSubnormalsInEveryThread) {
  ThreadPool pool(4);
  pool.run(64, [](Index, int) { EXPECT_EQ(_mm_getcsr() & 0x8040u, 0x8040u); });
}

TEST(ParallelFor, CutsRangesThatDoNotDependOnTheThreads) {
  ThreadPool pool(3);
  std::atomic<Index> covered = 0;
  parallel_for(pool, 10, 4, [&](Index begin, Index end, int) {
    EXPECT_EQ(begin % 4, 0);
    covered += end - begin;
  });
  EXPECT_EQ(covered, 10);
}

}  // namespace
}  // namespace jericho
