// Slots in turn: see stream_writer.h. Start at append(); complete() is where writes go wrong and are mended.
#include "memory/stream_writer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr std::int64_t kAlign = 4096;  // at least File::alignment() of every file
constexpr int kMostRetries = 1000;     // EINTR, EAGAIN and writes that take nothing

}  // namespace

StreamWriter::StreamWriter(IoBackend& io, const File& file, std::span<std::byte> buffer)
    : io_(io), file_(file), buffer_(buffer), slots_(buffer.size() / kSlot.size()) {
  JERICHO_CHECK(slots_.size() >= 2, "a buffer of {} B", buffer.size());
  JERICHO_CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % kAlign == 0, "the buffer is not aligned");
  JERICHO_CHECK(file.alignment().count <= kAlign, "{}: aligned to {}", file.path(), file.alignment().count);
}

StreamWriter::~StreamWriter() {
  std::array<IoResult, IoBackend::kDepth> ignored;
  while (io_.in_flight() > 0) io_.poll(ignored, IoWait::kForOne);  // they read from the buffer, which dies after us
}

void StreamWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (filled_ == 0) wait_for(slot_);
    const std::size_t size = std::min(bytes.size(), static_cast<std::size_t>(kSlot.count - filled_));
    const std::size_t at = slot_ * kSlot.size() + static_cast<std::size_t>(filled_);
    std::copy_n(bytes.begin(), size, buffer_.begin() + static_cast<std::ptrdiff_t>(at));
    filled_ += static_cast<std::int64_t>(size);
    bytes = bytes.subspan(size);
    if (filled_ == kSlot.count) submit_slot(kSlot.count);
  }
}

void StreamWriter::finish() {
  const std::int64_t size = offset_ + filled_;
  if (filled_ > 0) {  // direct writes are of whole blocks; what is too much is cut off
    const std::int64_t whole = file_.direct() ? (filled_ + kAlign - 1) / kAlign * kAlign : filled_;
    std::fill_n(buffer_.begin() + static_cast<std::ptrdiff_t>(slot_ * kSlot.size()) + filled_, whole - filled_,
                std::byte{0});
    submit_slot(whole);
  }
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) wait_for(slot);
  file_.truncate({size});
}

void StreamWriter::submit_slot(std::int64_t size) {
  slots_[slot_] = {offset_, buffer_.subspan(slot_ * kSlot.size(), static_cast<std::size_t>(size)), 0};
  submit(slot_);
  offset_ += size;
  slot_ = (slot_ + 1) % slots_.size();
  filled_ = 0;
}

void StreamWriter::submit(std::size_t slot) {
  io_.submit({file_.fd(), IoOp::kWrite, slots_[slot].offset, slots_[slot].left, slot});
}

void StreamWriter::wait_for(std::size_t slot) {
  std::array<IoResult, IoBackend::kDepth> results;
  while (!slots_[slot].left.empty()) {
    const std::size_t count = io_.poll(results, IoWait::kForOne);
    for (std::size_t i = 0; i < count; ++i) complete(results[i]);
  }
  throw_failure();
}

void StreamWriter::complete(const IoResult& result) {
  Slot& slot = slots_[static_cast<std::size_t>(result.tag)];
  std::int64_t written = std::max<std::int64_t>(0, result.transferred);
  if (file_.direct()) written = written / kAlign * kAlign;  // the rest must begin on a block
  slot.offset += written;
  slot.left = slot.left.subspan(static_cast<std::size_t>(written));
  if (slot.left.empty()) return;
  const auto error = static_cast<int>(result.transferred < 0 ? -result.transferred : 0);
  slot.retries = written > 0 ? 0 : slot.retries + 1;
  if ((error == 0 || error == EINTR || error == EAGAIN) && slot.retries <= kMostRetries) {
    submit(static_cast<std::size_t>(result.tag));
    return;
  }
  if (failure_.empty()) {
    failure_ = fmt::format("{}: writing at byte {}: {}", file_.path(), slot.offset,
                           error != 0 ? std::strerror(error) : "the kernel takes no data");
  }
  slot.left = {};
}

void StreamWriter::throw_failure() const {
  if (!failure_.empty()) throw Error(ErrorKind::kIo, failure_);
}

std::streamsize StreamWriterBuffer::xsputn(const char* bytes, std::streamsize count) {
  writer_.append(std::as_bytes(std::span(bytes, static_cast<std::size_t>(count))));
  return count;
}

StreamWriterBuffer::int_type StreamWriterBuffer::overflow(int_type character) {
  if (!traits_type::eq_int_type(character, traits_type::eof())) {
    const char byte = traits_type::to_char_type(character);
    xsputn(&byte, 1);
  }
  return traits_type::not_eof(character);
}

}  // namespace jericho
