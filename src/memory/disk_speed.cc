// Requests in a ring around a scratch file: see disk_speed.h.
#include "memory/disk_speed.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/file.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Bytes kSmallest = 16_MiB;  // a shorter file says more about the start than about the disk
constexpr std::array<Bytes, 2> kRequests = {1_MiB, 4_MiB};

Bytes round_down(Bytes size, Bytes unit) { return {size.count / unit.count * unit.count}; }

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// splitmix64 (Steele, Lea, Flood 2014): a disk or file system that compresses gains nothing.
void fill_with_noise(std::span<std::byte> buffer) {
  std::uint64_t state = 0;
  for (std::size_t at = 0; at + 8 <= buffer.size(); at += 8) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    std::memcpy(buffer.data() + at, &z, 8);
  }
}

// One thread's requests against one file; none is in flight outside run().
class Ring {
 public:
  Ring(const File& file, IoBackend& io, std::span<std::byte> buffer, const std::stop_token& stop)
      : file_(file), io_(io), buffer_(buffer), stop_(stop) {}

  struct Outcome {
    Bytes moved{};
    double seconds = 0;
  };

  // The first `size` bytes in order, in requests of `request` bytes, as many in flight as the buffer holds; no new ones
  // after `limit` seconds.
  Outcome run(IoOp op, Bytes size, Bytes request, double limit) {
    const auto slots = std::min(IoBackend::kDepth, buffer_.size() / request.size());
    std::vector<std::size_t> free;
    for (std::size_t slot = 0; slot < slots; ++slot) free.push_back(slot);
    Outcome outcome;
    Bytes next{};
    const auto start = Clock::now();
    while (true) {
      while (!free.empty() && next + request <= size && !ending() && seconds_since(start) < limit) {
        const std::size_t slot = free.back();
        free.pop_back();
        io_.submit({file_.fd(), op, next.count, buffer_.subspan(slot * request.size(), request.size()), slot});
        next += request;
      }
      if (io_.in_flight() == 0) break;
      std::array<IoResult, IoBackend::kDepth> results;
      const std::size_t count = io_.poll(results, IoWait::kForOne);
      for (std::size_t i = 0; i < count; ++i) {
        free.push_back(results[i].tag);
        if (results[i].transferred == request.count) {
          outcome.moved += request;
        } else if (error_ == 0) {
          error_ = results[i].transferred < 0 ? static_cast<int>(-results[i].transferred) : EIO;
        }
      }
    }
    if (stop_.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
    if (error_ == 0 && op == IoOp::kWrite && fdatasync(file_.fd()) != 0) error_ = errno;
    outcome.seconds = seconds_since(start);
    if (error_ != 0) {
      throw Error(ErrorKind::kIo, fmt::format("{}: {} failed: {}", file_.path(),
                                              op == IoOp::kRead ? "reading" : "writing", std::strerror(error_)));
    }
    return outcome;
  }

 private:
  [[nodiscard]] bool ending() const { return error_ != 0 || stop_.stop_requested(); }

  const File& file_;
  IoBackend& io_;
  std::span<std::byte> buffer_;
  const std::stop_token& stop_;
  int error_ = 0;
};

Bytes room_in(const std::filesystem::path& dir) {
  struct statvfs system {};
  if (statvfs(dir.c_str(), &system) != 0) return {};
  return {static_cast<std::int64_t>(system.f_bavail) * static_cast<std::int64_t>(system.f_frsize)};
}

}  // namespace

DiskSpeed measure_disk(const std::filesystem::path& dir, IoBackend& io, std::span<std::byte> buffer,
                       const DiskMeasurement& how, const std::stop_token& stop) {
  const Bytes half{room_in(dir).count / 2};
  const Bytes size = round_down(std::min(how.size, half), kRequests.back());
  const File file = File::create_scratch(dir);
  if (size < kSmallest) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: {} are free, which is too little to measure the disk with",
                                                     dir.string(), format_bytes(half * 2)));
  }
  if (!file.direct()) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("{}: its file system has no direct I/O, so the page cache would be measured", dir.string()));
  }
  fill_with_noise(buffer);
  Ring ring(file, io, buffer, stop);
  const Ring::Outcome written = ring.run(IoOp::kWrite, size, kRequests.front(), how.seconds);
  DiskSpeed speed{.write_gbps = static_cast<double>(written.moved.count) / written.seconds / 1e9,
                  .size = round_down(written.moved, kRequests.back())};
  if (speed.size == Bytes{}) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: has taken {} in {:.1f} s, which is too slow to measure",
                                                     dir.string(), format_bytes(written.moved), written.seconds));
  }
  std::vector<double> rates;
  for (int pass = 0; pass < how.passes; ++pass) {
    const Bytes request = kRequests[static_cast<std::size_t>(pass) % kRequests.size()];
    const Ring::Outcome read = ring.run(IoOp::kRead, speed.size, request, how.seconds);
    rates.push_back(static_cast<double>(read.moved.count) / read.seconds / 1e9);
  }
  std::sort(rates.begin(), rates.end());
  speed.read_gbps = rates.back();
  speed.read_spread = (rates.back() - rates[rates.size() / 2]) / rates.back();
  return speed;
}

std::optional<double> measure_reading(const File& file, IoBackend& io, std::span<std::byte> buffer, double seconds,
                                      const std::stop_token& stop) {
  const Bytes size = round_down(file.size(), kRequests.front());
  if (!file.direct() || size == Bytes{}) return std::nullopt;
  Ring ring(file, io, buffer, stop);
  Ring::Outcome all;
  while (all.seconds < seconds) {
    const Ring::Outcome pass = ring.run(IoOp::kRead, size, kRequests.front(), seconds - all.seconds);
    all.moved += pass.moved;
    all.seconds += pass.seconds;
  }
  return static_cast<double>(all.moved.count) / all.seconds;
}

}  // namespace jericho
