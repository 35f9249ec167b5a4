// Requests and their mending; see range_reader.h. complete() is where reads go wrong and are mended.
#include "memory/range_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace jericho {
namespace {

constexpr int kMostFailures = 2;    // EIO, per request
constexpr int kMostRetries = 1000;  // EINTR, EAGAIN and short reads that bring nothing new

}  // namespace

template <class T>
std::size_t RangeReader::take(std::vector<T>& all, std::vector<std::size_t>& free) {
  if (free.empty()) {
    all.emplace_back();
    return all.size() - 1;
  }
  const std::size_t index = free.back();
  free.pop_back();
  return index;
}

RangeReader::Ticket RangeReader::start(const File& file, std::int64_t offset, std::span<std::byte> buffer,
                                       std::int64_t needed) {
  const auto size = static_cast<std::int64_t>(buffer.size());
  JERICHO_CHECK(offset >= 0 && offset % kBlock == 0 && size % kBlock == 0 && needed <= size, "{} of [{}, +{})", needed,
                offset, size);
  JERICHO_CHECK(file.alignment().count <= kBlock, "{}: aligned to {}", file.path(), file.alignment().count);
  const Ticket ticket = take(ranges_, free_ranges_);
  Range& range = ranges_[ticket];
  range.file = &file;
  range.outstanding = static_cast<std::size_t>(ceil_div(needed, kRequest.count));
  range.complete.assign(range.outstanding, false);
  range.front = 0;
  range.failure.clear();
  for (std::size_t i = 0; i < range.outstanding; ++i) {
    const std::size_t tag = take(pieces_, free_pieces_);
    const std::int64_t at = static_cast<std::int64_t>(i) * kRequest.count;
    const std::int64_t most = std::min(kRequest.count, size - at);
    pieces_[tag] = {offset + at, buffer.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(most)),
                    std::min(most, needed - at), ticket, i};
    waiting_.push_back(tag);
  }
  submit_pieces();
  return ticket;
}

void RangeReader::wait(Ticket ticket, std::int64_t bytes, const std::stop_token& stop) {
  const auto pieces = static_cast<std::size_t>(ceil_div(bytes, kRequest.count));
  while (ranges_[ticket].front < pieces && ranges_[ticket].outstanding > 0) {
    if (stop.stop_requested())
      throw Error(ErrorKind::kInterrupted, "stopped while reading " + ranges_[ticket].file->path());
    poll(IoWait::kForOne);
  }
  submit_pieces();  // the caller computes now: leave the disk something to do
  Range& range = ranges_[ticket];
  if (range.front >= pieces) return;
  const Error error(range.failure_kind, std::exchange(range.failure, {}));
  free_ranges_.push_back(ticket);
  throw Error(error);
}

void RangeReader::end(Ticket ticket) {
  while (ranges_[ticket].outstanding > 0) poll(IoWait::kForOne);
  free_ranges_.push_back(ticket);
}

void RangeReader::poll() { poll(IoWait::kNone); }

void RangeReader::poll(IoWait wait) {
  submit_pieces();
  std::array<IoResult, IoBackend::kDepth> results;
  const std::size_t count = io_.poll(results, wait);
  if (count > 0) last_arrival_ = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < count; ++i) complete(results[i]);
  submit_pieces();
}

void RangeReader::drain() {
  IoResult ignored[IoBackend::kDepth];
  while (io_.in_flight() > 0) io_.poll(ignored, IoWait::kForOne);  // they write to buffers that die after us
}

void RangeReader::submit_pieces() {
  while (!waiting_.empty() && io_.in_flight() < IoBackend::kDepth) {
    const Piece& piece = pieces_[waiting_.front()];
    io_.submit({ranges_[piece.range].file->fd(), IoOp::kRead, piece.offset, piece.buffer, waiting_.front()});
    waiting_.pop_front();
  }
}

void RangeReader::complete(const IoResult& result) {
  const auto tag = static_cast<std::size_t>(result.tag);
  Piece& piece = pieces_[tag];
  const std::int64_t got = result.transferred;
  if (got >= piece.needed) return finish(tag);
  if (got >= 0) {  // at the end of the file, or merely short
    const Bytes size = ranges_[piece.range].file->size();
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
    const std::int64_t whole = got / kBlock * kBlock;
    piece.offset += whole;
    piece.buffer = piece.buffer.subspan(static_cast<std::size_t>(whole));
    piece.needed -= whole;
    piece.retries = whole > 0 ? 0 : piece.retries + 1;
  }
  if (piece.retries > kMostRetries) return fail(tag, ErrorKind::kIo, "the kernel returns no data");
  waiting_.push_front(tag);  // the oldest range waits for it
}

void RangeReader::finish(std::size_t piece) {
  Range& range = ranges_[pieces_[piece].range];
  range.complete[pieces_[piece].number] = true;
  while (range.front < range.complete.size() && range.complete[range.front]) ++range.front;
  --range.outstanding;
  free_pieces_.push_back(piece);
}

void RangeReader::fail(std::size_t piece, ErrorKind kind, std::string why) {
  Range& range = ranges_[pieces_[piece].range];
  if (range.failure.empty()) {
    range.failure = fmt::format("{}: reading at byte {}: {}", range.file->path(), pieces_[piece].offset, why);
    range.failure_kind = kind;
  }
  --range.outstanding;
  free_pieces_.push_back(piece);
}

}  // namespace jericho
