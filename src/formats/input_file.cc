// Opens and reads files with their failures spelled out.
#include "formats/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

std::string reason(int code) { return std::generic_category().message(code); }

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it means nothing for regular files.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw Error(ErrorKind::kIo, "cannot be opened: " + reason(errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(ErrorKind::kIo, "is not a regular file");
  }
  size_ = status.st_size;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(std::exchange(other.size_, 0)) {}

void InputFile::read_at(std::int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(ErrorKind::kIo, fmt::format("reading at byte {}: {}", offset, reason(errno)));
    if (got == 0) {
      throw Error(ErrorKind::kIo,
                  fmt::format("ends at byte {}, had {} bytes when it was opened; is it being written?", offset, size_));
    }
    offset += got;
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::string read_whole_file(const std::filesystem::path& path, Bytes limit) {
  const InputFile file(path);
  if (file.size() > limit.count) {
    throw Error(ErrorKind::kInput,
                fmt::format("has {}, expected at most {}", format_bytes({file.size()}), format_bytes(limit)));
  }
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace jericho
