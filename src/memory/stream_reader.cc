// The ring and its requests; see stream_reader.h. Start at next(): it frees the slot the caller is done with, starts as
// many ranges as have slots, and polls until the oldest is whole. complete() is where reads go wrong and are mended.
#include "memory/stream_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace jericho {
namespace {

constexpr std::int64_t kAlign = 4096;  // at least File::alignment() of every file
constexpr int kMostFailures = 2;       // EIO, per request
constexpr int kMostRetries = 1000;     // EINTR, EAGAIN and short reads that bring nothing new

constexpr std::int64_t align_down(std::int64_t x) { return x / kAlign * kAlign; }
constexpr std::int64_t align_up(std::int64_t x) { return align_down(x + kAlign - 1); }

}  // namespace

Bytes StreamReader::slot_bytes(Bytes largest_range) {
  return Bytes{align_up(largest_range.count) + kAlign};  // a range may begin anywhere in its first aligned block
}

Bytes StreamReader::staging_bytes(Bytes largest_range, int slots) { return slot_bytes(largest_range) * slots; }

StreamReader::StreamReader(IoBackend& io, std::span<std::byte> staging, StreamOptions options)
    : io_(io), staging_(staging), slot_bytes_(options.slot_bytes) {
  JERICHO_CHECK(slot_bytes_.count > 0 && slot_bytes_.count % kAlign == 0, "slots of {} B", slot_bytes_.count);
  JERICHO_CHECK(reinterpret_cast<std::uintptr_t>(staging.data()) % kAlign == 0, "staging is not aligned");
  slots_.resize(staging.size() / slot_bytes_.size());
  JERICHO_CHECK(!slots_.empty(), "staging of {} B for slots of {} B", staging.size(), slot_bytes_.count);
  pieces_.resize(slots_.size() * static_cast<std::size_t>(ceil_div(slot_bytes_.count, kRequest.count)));
  for (std::size_t tag = pieces_.size(); tag-- > 0;) free_.push_back(tag);
}

StreamReader::~StreamReader() {
  IoResult ignored[IoBackend::kDepth];
  while (io_.in_flight() > 0) io_.poll(ignored, IoWait::kForOne);  // they write to the staging, which dies after us
}

std::span<std::byte> StreamReader::slot_span(std::size_t slot) const {
  return staging_.subspan(slot * slot_bytes_.size(), slot_bytes_.size());
}

void StreamReader::enqueue(const File& file, std::int64_t offset, Bytes length) {
  JERICHO_CHECK(offset >= 0 && length.count >= 0, "range [{}, +{})", offset, length.count);
  JERICHO_CHECK(align_up(offset + length.count) - align_down(offset) <= slot_bytes_.count,
                "range [{}, +{}) in slots of {}", offset, length.count, slot_bytes_.count);
  JERICHO_CHECK(file.alignment().count <= kAlign, "{}: aligned to {}", file.path(), file.alignment().count);
  ranges_.push_back({&file, offset, length});
}

std::span<const std::byte> StreamReader::next(const std::stop_token& stop) {
  JERICHO_CHECK(!ranges_.empty(), "next() of an empty list");
  holding_ = false;
  prefetch();
  Slot& slot = slots_[first_slot_];
  std::array<IoResult, IoBackend::kDepth> results;
  while (slot.outstanding > 0) {
    if (stop.stop_requested())
      throw Error(ErrorKind::kInterrupted, "stopped while reading " + ranges_.front().file->path());
    submit_pieces();
    const std::size_t count = io_.poll(results, IoWait::kForOne);
    for (std::size_t i = 0; i < count; ++i) complete(results[i]);
  }
  submit_pieces();  // the caller computes now: leave the disk something to do
  const Range range = ranges_.front();
  const std::size_t in_slot = static_cast<std::size_t>(range.offset - align_down(range.offset));
  const std::span<const std::byte> bytes = slot_span(first_slot_).subspan(in_slot, range.length.size());
  ranges_.pop_front();
  --started_;
  first_slot_ = (first_slot_ + 1) % slots_.size();
  holding_ = true;
  const std::int64_t begin = align_down(range.offset);  // only whole pages can be dropped
  range.file->drop_cache(begin, Bytes{align_up(range.offset + range.length.count) - begin});
  if (!slot.failure.empty()) throw Error(slot.failure_kind, std::exchange(slot.failure, {}));
  return bytes;
}

void StreamReader::prefetch() {
  while (started_ < ranges_.size() && started_ + (holding_ ? 1 : 0) < slots_.size()) {
    split_range(ranges_[started_], (first_slot_ + started_) % slots_.size());
    ++started_;
  }
  submit_pieces();
}

void StreamReader::split_range(const Range& range, std::size_t slot) {
  const std::int64_t begin = align_down(range.offset);
  const std::int64_t needed_end = range.offset + range.length.count;
  const std::int64_t end = align_up(needed_end);
  slots_[slot] = {};
  if (range.length.count == 0) return;
  for (std::int64_t at = begin; at < end; at += kRequest.count) {
    const std::int64_t size = std::min(kRequest.count, end - at);
    const std::size_t tag = free_.back();
    free_.pop_back();
    const auto place = slot_span(slot).subspan(static_cast<std::size_t>(at - begin), static_cast<std::size_t>(size));
    pieces_[tag] = {range.file, at, place, std::min(size, needed_end - at), slot};
    ++slots_[slot].outstanding;
    waiting_.push_back(tag);
  }
}

void StreamReader::submit_pieces() {
  while (!waiting_.empty() && io_.in_flight() < IoBackend::kDepth) {
    const Piece& piece = pieces_[waiting_.front()];
    io_.submit({piece.file->fd(), IoOp::kRead, piece.offset, piece.buffer, waiting_.front()});
    waiting_.pop_front();
  }
}

void StreamReader::complete(const IoResult& result) {
  const auto tag = static_cast<std::size_t>(result.tag);
  Piece& piece = pieces_[tag];
  const std::int64_t got = result.transferred;
  if (got >= piece.needed) return finish(tag);
  if (got >= 0) {  // at the end of the file, or merely short
    const Bytes size = piece.file->size();
    if (got == 0 || size.count < piece.offset + piece.needed) {
      return fail(tag, ErrorKind::kInput,
                  fmt::format("the file has {} B, {} are expected; is the download complete?", size.count,
                              piece.offset + piece.needed));
    }
  }
  if (got < 0) {
    const auto error = static_cast<int>(-got);
    const bool again = error == EINTR || error == EAGAIN;
    const bool once_more = error == EIO && ++piece.failures < kMostFailures;
    if (!again && !once_more) return fail(tag, ErrorKind::kIo, std::strerror(error));
    ++piece.retries;
  } else {  // short: go on from the last whole block, since a direct read must begin on one
    const std::int64_t whole = align_down(got);
    piece.offset += whole;
    piece.buffer = piece.buffer.subspan(static_cast<std::size_t>(whole));
    piece.needed -= whole;
    piece.retries = whole > 0 ? 0 : piece.retries + 1;
  }
  if (piece.retries > kMostRetries) return fail(tag, ErrorKind::kIo, "the kernel returns no data");
  waiting_.push_front(tag);  // the oldest range waits for it
}

void StreamReader::finish(std::size_t piece) {
  --slots_[pieces_[piece].slot].outstanding;
  free_.push_back(piece);
}

void StreamReader::fail(std::size_t piece, ErrorKind kind, std::string why) {
  Slot& slot = slots_[pieces_[piece].slot];
  if (slot.failure.empty()) {
    slot.failure = fmt::format("{}: reading at byte {}: {}", pieces_[piece].file->path(), pieces_[piece].offset, why);
    slot.failure_kind = kind;
  }
  finish(piece);
}

}  // namespace jericho
