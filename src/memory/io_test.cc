// Every backend does the same, and the scripted one goes wrong exactly as told.
#include "memory/io.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

// All results of what is in flight, by tag.
std::map<std::uint64_t, std::int64_t> drain(IoBackend& io) {
  std::map<std::uint64_t, std::int64_t> outcome;
  std::array<IoResult, 8> results;
  while (io.in_flight() > 0) {
    const std::size_t count = io.poll(results, IoWait::kForOne);
    for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(outcome.emplace(results[i].tag, results[i].transferred).second);
  }
  return outcome;
}

struct Rung {
  const char* name;
  std::function<std::unique_ptr<IoBackend>()> make;
};
void PrintTo(const Rung& rung, std::ostream* out) { *out << rung.name; }

class OnEveryBackend : public ::testing::TestWithParam<Rung> {
 protected:
  void SetUp() override {
    io_ = GetParam().make();
    if (!io_) GTEST_SKIP() << "io_uring is not allowed here";
    fd_ = open((folder_.path() / "data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override {
    io_.reset();
    if (fd_ >= 0) close(fd_);
  }

  TempFolder folder_;
  std::unique_ptr<IoBackend> io_;
  int fd_ = -1;
};

INSTANTIATE_TEST_SUITE_P(Io, OnEveryBackend,
                         ::testing::Values(Rung{"uring", [] { return make_uring_backend(); }},
                                           Rung{"threads", [] { return make_thread_backend(3); }},
                                           Rung{"thread", [] { return make_thread_backend(1); }},
                                           Rung{"scripted",
                                                [] { return make_scripted_backend(make_thread_backend(2), {}); }}),
                         [](const auto& rung) { return std::string(rung.param.name); });

TEST_P(OnEveryBackend, ReadsBackWhatItWroteAtFullDepth) {
  constexpr std::size_t kBlock = 4096;
  std::vector<std::byte> out(kBlock * IoBackend::kDepth);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = TempFolder::pattern(static_cast<std::int64_t>(i));
  const auto submit_all = [&](IoOp op, std::vector<std::byte>& buffer) {
    for (std::size_t k = 0; k < IoBackend::kDepth; ++k) {
      io_->submit(
          {fd_, op, static_cast<std::int64_t>(k * kBlock), std::span(buffer).subspan(k * kBlock, kBlock), 1000 + k});
    }
    EXPECT_EQ(io_->in_flight(), IoBackend::kDepth);
    const auto outcome = drain(*io_);
    EXPECT_EQ(outcome.size(), IoBackend::kDepth);
    for (const auto& [tag, transferred] : outcome) EXPECT_EQ(transferred, static_cast<std::int64_t>(kBlock)) << tag;
  };
  submit_all(IoOp::kWrite, out);
  std::vector<std::byte> in(out.size());
  submit_all(IoOp::kRead, in);
  EXPECT_EQ(in, out);
}

TEST_P(OnEveryBackend, ReportsShortReadsEndOfFileAndErrors) {
  ASSERT_EQ(write(fd_, "hello", 5), 5);
  std::array<std::byte, 64> a{}, b{}, c{};
  io_->submit({fd_, IoOp::kRead, 2, a, 1});
  io_->submit({fd_, IoOp::kRead, 5, b, 2});
  io_->submit({-1, IoOp::kRead, 0, c, 3});
  const auto outcome = drain(*io_);
  EXPECT_EQ(outcome.at(1), 3);
  EXPECT_EQ(outcome.at(2), 0);
  EXPECT_EQ(outcome.at(3), -EBADF);
  EXPECT_EQ(a[0], std::byte{'l'});
}

TEST_P(OnEveryBackend, DoesNotWaitWhenNothingIsInFlight) {
  std::array<IoResult, 4> results;
  EXPECT_EQ(io_->poll(results, IoWait::kForOne), 0u);
  EXPECT_EQ(io_->poll(results, IoWait::kNone), 0u);
}

TEST_P(OnEveryBackend, DeliversOneResultAtATime) {
  std::array<std::byte, 16> buffer{};
  for (std::uint64_t tag = 0; tag < 5; ++tag) io_->submit({fd_, IoOp::kWrite, 0, buffer, tag});
  std::array<IoResult, 1> result;
  std::size_t delivered = 0;
  while (io_->in_flight() > 0) delivered += io_->poll(result, IoWait::kForOne);
  EXPECT_EQ(delivered, 5u);
}

TEST_P(OnEveryBackend, WaitIsBounded) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // a read that does not come back
  if (io_->name() == "io_uring") {
    std::array<std::byte, 1> buffer{};
    io_->submit({ends[0], IoOp::kRead, -1, buffer, 9});
    std::array<IoResult, 1> result;
    EXPECT_EQ(io_->poll(result, IoWait::kForOne), 0u);
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    EXPECT_EQ(drain(*io_).at(9), 1);
  }
  close(ends[0]);
  close(ends[1]);
}

TEST_P(OnEveryBackend, DestructorWaitsForTheKernelToLeaveTheBuffers) {
  std::vector<std::byte> buffer(1 << 20);
  for (std::uint64_t tag = 0; tag < 16; ++tag) io_->submit({fd_, IoOp::kWrite, 0, buffer, tag});
  io_.reset();
}

TEST(IoLadder, EndsAtABackendThatWorks) {
  const auto io = make_io_backend(IoChoice::kBest);
  EXPECT_TRUE(io->name() == "io_uring" || io->name() == "threads");
  EXPECT_EQ(make_io_backend(IoChoice::kThreads)->name(), "threads");
  if (io->name() == "threads") {
    EXPECT_THROW(make_io_backend(IoChoice::kUring), Error);
  }
  EXPECT_GE(io_backend_bytes(IoChoice::kBest), io_backend_bytes(IoChoice::kUring));
}

class Scripted : public ::testing::Test {
 protected:
  // What four reads of 100 bytes report when the second suffers `fault`, in order of arrival.
  std::vector<IoResult> read_with(IoFault fault) {
    const auto io = make_scripted_backend(make_thread_backend(1), {.every = 2, .at_most = 1, .faults = {fault}});
    const int fd = open(folder_.make_file("data", 400).c_str(), O_RDONLY | O_CLOEXEC);
    for (std::size_t k = 0; k < 4; ++k) {
      io->submit({fd, IoOp::kRead, static_cast<std::int64_t>(100 * k), std::span(buffer_).subspan(100 * k, 100), k});
    }
    std::vector<IoResult> arrived;
    std::array<IoResult, 1> result;
    while (io->in_flight() > 0) {
      if (io->poll(result, IoWait::kForOne) > 0) arrived.push_back(result[0]);
    }
    close(fd);
    return arrived;
  }
  static std::int64_t outcome(const std::vector<IoResult>& results, std::uint64_t tag) {
    for (const IoResult& result : results) {
      if (result.tag == tag) return result.transferred;
    }
    return -1000;
  }
  [[nodiscard]] std::size_t wrong_bytes(std::size_t begin, std::size_t end) const {
    std::size_t wrong = 0;
    for (std::size_t i = begin; i < end; ++i) wrong += buffer_[i] != TempFolder::pattern(static_cast<std::int64_t>(i));
    return wrong;
  }

  TempFolder folder_;
  std::array<std::byte, 400> buffer_{};
};

TEST_F(Scripted, ReturnsTheErrorsItIsTold) {
  const std::map<IoFault, int> errors = {{IoFault::kEio, EIO},
                                         {IoFault::kEnospc, ENOSPC},
                                         {IoFault::kEintr, EINTR},
                                         {IoFault::kEagain, EAGAIN},
                                         {IoFault::kEnd, 0}};
  for (const auto& [fault, error] : errors) {
    const auto results = read_with(fault);
    ASSERT_EQ(results.size(), 4u);
    EXPECT_EQ(outcome(results, 1), -error);
    EXPECT_EQ(outcome(results, 3), 100);
  }
}

TEST_F(Scripted, ShortensReadsAndHidesTheRest) {
  EXPECT_EQ(outcome(read_with(IoFault::kShortByOne), 1), 99);
  EXPECT_EQ(wrong_bytes(0, 199), 0u);
  EXPECT_EQ(buffer_[199], std::byte{0xcc});
  EXPECT_EQ(outcome(read_with(IoFault::kHalf), 1), 50);
  EXPECT_EQ(wrong_bytes(0, 150), 0u);
  EXPECT_GT(wrong_bytes(150, 200), 40u);
}

TEST_F(Scripted, FlipsOneBit) {
  EXPECT_EQ(outcome(read_with(IoFault::kFlipBit), 1), 100);
  EXPECT_EQ(wrong_bytes(100, 200), 1u);
  EXPECT_EQ(wrong_bytes(0, 100) + wrong_bytes(200, 400), 0u);
}

TEST_F(Scripted, DelaysAndReorders) {
  EXPECT_EQ(read_with(IoFault::kDelay).back().tag, 1u);
  const auto results = read_with(IoFault::kReorder);
  ASSERT_EQ(results.size(), 4u);
  const auto place = [&](std::uint64_t tag) {
    return std::find_if(results.begin(), results.end(), [&](const IoResult& r) { return r.tag == tag; }) -
           results.begin();
  };
  EXPECT_NE(place(1), 0);
  EXPECT_EQ(wrong_bytes(0, 400), 0u);
}

}  // namespace
}  // namespace jericho
