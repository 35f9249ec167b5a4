// Opening, sizing and reading files: see file.h.
#include "memory/file.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::int64_t kMostAlignment = 4096;  // what readers align to; a file system that wants more is read buffered
constexpr std::uint64_t kTmpfsMagic = 0x01021994;
constexpr std::uint64_t kRamfsMagic = 0x858458f6;

[[noreturn]] void fail(ErrorKind kind, const std::string& path, const char* what, int error) {
  throw Error(kind, fmt::format("{}: {}: {}", path, what, std::strerror(error)));
}

// Alignment of direct I/O as the file system states it (statx(2), Linux 6.1); 0: none to be had; 4096 when it does not
// say.
std::int64_t direct_alignment([[maybe_unused]] int fd) {
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN) != 0) {
    return std::max(status.stx_dio_mem_align, status.stx_dio_offset_align);
  }
#endif
  return kMostAlignment;
}

// An unlinked file in `dir`; -1 and errno on failure. Not every file system has O_TMPFILE.
int open_unnamed(const std::string& dir) {
  const int fd = open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  std::string name = dir + "/jericho-XXXXXX";
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

}  // namespace

File File::open_read(const std::filesystem::path& path, FileCache cache) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(errno == ENOENT ? ErrorKind::kInput : ErrorKind::kIo, path.string(), "cannot be opened", errno);
  File file(fd, path.string());
  struct stat status {};
  if (fstat(fd, &status) != 0) fail(ErrorKind::kIo, file.path_, "fstat", errno);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::kInput, file.path_ + ": not a regular file");
  if (cache == FileCache::kBypass) file.go_direct();
  return file;
}

File File::create_scratch(const std::filesystem::path& dir, Bytes reserve, ScratchPlace place) {
  struct statfs system {};
  if (statfs(dir.c_str(), &system) != 0) fail(ErrorKind::kIo, dir.string(), "no folder for scratch files", errno);
  const auto type = static_cast<std::uint64_t>(system.f_type) & 0xffffffffu;
  if (place == ScratchPlace::kOnDisk && (type == kTmpfsMagic || type == kRamfsMagic)) {
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: lies in memory (tmpfs), so spilling there frees nothing; name a folder on a disk",
                            dir.string()));
  }
  const int fd = open_unnamed(dir.string());
  if (fd < 0) fail(ErrorKind::kIo, dir.string(), "cannot create a scratch file", errno);
  File file(fd, dir.string() + "/(scratch)");
  file.allocate(reserve);
  file.go_direct();
  return file;
}

File File::create(const std::filesystem::path& path, Bytes reserve) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) fail(ErrorKind::kIo, path.string(), "cannot be written", errno);
  File file(fd, path.string());
  file.allocate(reserve);
  file.go_direct();
  return file;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

void File::swap(File& other) noexcept {
  std::swap(fd_, other.fd_);
  path_.swap(other.path_);
  std::swap(direct_, other.direct_);
  std::swap(alignment_, other.alignment_);
}

void File::allocate(Bytes reserve) {
  // EOPNOTSUPP: a file system that cannot promise space; writes may find the disk full later.
  if (reserve.count > 0 && fallocate(fd_, 0, 0, reserve.count) != 0 && errno != EOPNOTSUPP) {
    fail(ErrorKind::kIo, path_, fmt::format("cannot reserve {}", format_bytes(reserve)).c_str(), errno);
  }
}

void File::go_direct() {
  const std::int64_t alignment = direct_alignment(fd_);
  if (alignment <= 0 || alignment > kMostAlignment || !std::has_single_bit(static_cast<std::uint64_t>(alignment)))
    return;
  const int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fcntl(fd_, F_SETFL, flags | O_DIRECT) != 0) return;  // EINVAL: the file system has none
  direct_ = true;
  alignment_ = {alignment};
}

Bytes File::size() const {
  struct stat status {};
  if (fstat(fd_, &status) != 0) fail(ErrorKind::kIo, path_, "fstat", errno);
  return {status.st_size};
}

void File::read_exactly(std::int64_t offset, std::span<std::byte> buffer) const {
  while (!buffer.empty()) {
    const ssize_t got = pread(fd_, buffer.data(), buffer.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorKind::kIo, path_, fmt::format("reading at byte {}", offset).c_str(), errno);
    if (got == 0) {
      throw Error(ErrorKind::kInput, fmt::format("{}: ends at byte {}, {} more are expected; is the download complete?",
                                                 path_, offset, buffer.size()));
    }
    buffer = buffer.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void File::truncate(Bytes size) const {
  if (ftruncate(fd_, size.count) != 0) fail(ErrorKind::kIo, path_, "cannot be given its size", errno);
}

void File::drop_cache(std::int64_t offset, Bytes length) const {
  if (!direct_) posix_fadvise(fd_, offset, length.count, POSIX_FADV_DONTNEED);
}

}  // namespace jericho
