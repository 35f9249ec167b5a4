// The ring; see stream_reader.h. Start at next(): it frees the slot the caller is done with, starts as many ranges as
// have slots, and waits until the oldest is whole. Requests and their mending are range_reader.cc.
#include "memory/stream_reader.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr std::int64_t kAlign = RangeReader::kBlock;

constexpr std::int64_t align_down(std::int64_t x) { return x / kAlign * kAlign; }
constexpr std::int64_t align_up(std::int64_t x) { return align_down(x + kAlign - 1); }

}  // namespace

Bytes StreamReader::slot_bytes(Bytes largest_range) {
  return Bytes{align_up(largest_range.count) + kAlign};  // a range may begin anywhere in its first aligned block
}

Bytes StreamReader::staging_bytes(Bytes largest_range, int slots) { return slot_bytes(largest_range) * slots; }

StreamReader::StreamReader(IoBackend& io, std::span<std::byte> staging, StreamOptions options)
    : reader_(io), staging_(staging), slot_bytes_(options.slot_bytes) {
  JERICHO_CHECK(slot_bytes_.count > 0 && slot_bytes_.count % kAlign == 0, "slots of {} B", slot_bytes_.count);
  JERICHO_CHECK(reinterpret_cast<std::uintptr_t>(staging.data()) % kAlign == 0, "staging is not aligned");
  slots_.resize(staging.size() / slot_bytes_.size());
  JERICHO_CHECK(!slots_.empty(), "staging of {} B for slots of {} B", staging.size(), slot_bytes_.count);
}

// From the block in which a range begins.
std::int64_t StreamReader::needed(const Range& range) {
  return range.length.count == 0 ? 0 : range.offset + range.length.count - align_down(range.offset);
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
  std::optional<Error> failure;
  try {
    reader_.wait(slots_[first_slot_], needed(ranges_.front()), stop);
    reader_.end(slots_[first_slot_]);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted) throw;
    failure = error;
  }
  const Range range = ranges_.front();
  const std::size_t in_slot = static_cast<std::size_t>(range.offset - align_down(range.offset));
  const std::span<const std::byte> bytes = slot_span(first_slot_).subspan(in_slot, range.length.size());
  ranges_.pop_front();
  --started_;
  first_slot_ = (first_slot_ + 1) % slots_.size();
  holding_ = true;
  const std::int64_t begin = align_down(range.offset);  // only whole pages can be dropped
  range.file->drop_cache(begin, Bytes{align_up(range.offset + range.length.count) - begin});
  if (failure) throw Error(*failure);
  return bytes;
}

void StreamReader::prefetch() {
  while (started_ < ranges_.size() && started_ + (holding_ ? 1 : 0) < slots_.size()) {
    start(ranges_[started_], (first_slot_ + started_) % slots_.size());
    ++started_;
  }
  reader_.poll();
}

void StreamReader::start(const Range& range, std::size_t slot) {
  const std::int64_t begin = align_down(range.offset), end = align_up(range.offset + range.length.count);
  const Bytes size{range.length.count == 0 ? 0 : end - begin};
  slots_[slot] = reader_.start(*range.file, begin, slot_span(slot).first(size.size()), needed(range));
}

}  // namespace jericho
