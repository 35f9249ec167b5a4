// A signal is heard once; a kernel that offers nothing leaves nothing to hear; a control group that fills is heard
// where this machine has one that we may make.
#include "memory/pressure.h"

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory/control_groups.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using testing::Contains;
using testing::HasSubstr;

void block_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

TEST(PressureWatch, HearsTheSignalOnceForEachTimeItWasSent) {
  block_signal();
  TempFolder nothing;
  PressureWatch watch(nothing.path());
  EXPECT_THAT(watch.sources(), testing::ElementsAre("SIGUSR1"));
  EXPECT_EQ(watch.take(), "");
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(watch.take(), "SIGUSR1");
  EXPECT_EQ(watch.take(), "");
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(watch.take(), "SIGUSR1");
}

TEST(PressureWatch, GivesTheKernelsTriggersItsWords) {
  block_signal();
  TempFolder root;
  std::filesystem::create_directories(root.path() / "proc/pressure");
  std::ofstream(root.path() / "proc/pressure/memory") << "";
  {
    PressureWatch watch(root.path());
    EXPECT_THAT(watch.sources(), Contains(HasSubstr("proc/pressure/memory")));
  }
  std::string written;
  std::getline(std::ifstream(root.path() / "proc/pressure/memory"), written, '\0');
  EXPECT_EQ(written, "some 150000 2000000");
}

TEST(PressureWatch, AsksTheInnermostGroupsFileBeforeTheMachines) {
  block_signal();
  TempFolder root;
  std::filesystem::create_directories(root.path() / "proc/self");
  std::filesystem::create_directories(root.path() / "proc/pressure");
  std::filesystem::create_directories(root.path() / "cg/box");
  std::ofstream(root.path() / "proc/pressure/memory") << "";
  std::ofstream(root.path() / "proc/self/mountinfo") << "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
  std::ofstream(root.path() / "proc/self/cgroup") << "0::/box\n";
  std::ofstream(root.path() / "cg/box/memory.pressure") << "";
  std::ofstream(root.path() / "cg/memory.pressure") << "";
  PressureWatch watch(root.path());
  EXPECT_THAT(watch.sources(), testing::ElementsAre("SIGUSR1", HasSubstr("cg/box/memory.pressure")));
}

// cgroup v1: a group of our own whose limit is nearly reached by file cache and memory.
TEST(PressureWatch, HearsAControlGroupThatRunsFull) {
  block_signal();
  namespace fs = std::filesystem;
  const fs::path group = fs::path("/sys/fs/cgroup/memory") / ("jericho-pressure-" + std::to_string(getpid()));
  std::error_code error;
  if (!fs::create_directory(group, error)) GTEST_SKIP() << "no control group may be made here: " << error.message();
  const auto write = [&](const char* file, const std::string& text) {
    std::ofstream out(group / file);
    out << text << std::flush;
    return static_cast<bool>(out);
  };
  const pid_t child = fork();
  if (child == 0) {
    if (!write("memory.limit_in_bytes", "67108864") || !write("cgroup.procs", std::to_string(getpid()))) _exit(3);
    PressureWatch watch;
    // More file pages than the group may hold, written again and again beside 40 MiB that stay.
    std::vector<std::byte> stays(std::size_t{40} << 20, std::byte{1});
    const std::string path = "/var/tmp/jericho-pressure-" + std::to_string(getpid());
    const std::vector<char> block(std::size_t{1} << 20, 'x');
    std::string heard;
    for (int round = 0; round < 20 && heard.empty(); ++round) {
      std::ofstream file(path, std::ios::binary);
      for (int i = 0; i < 64 && heard.empty(); ++i) {
        file.write(block.data(), static_cast<std::streamsize>(block.size()));
        heard = watch.take();
      }
    }
    fs::remove(path);
    _exit(heard.empty() ? 4 : stays.front() == std::byte{1} ? 0 : 5);
  }
  int status = 0;
  waitpid(child, &status, 0);
  fs::remove(group, error);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "the group takes no limit here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace jericho
