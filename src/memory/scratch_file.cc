// Slots, tickets and their faults: see scratch_file.h. Start at start(); complete() is where transfers go wrong and are
// mended, verify() where content does.
#include "memory/scratch_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <xxhash.h>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr std::int64_t kAlign = 4096;  // at least File::alignment() of every file
constexpr int kMostFailures = 2;       // EIO, per transfer
constexpr int kMostRetries = 1000;     // EINTR, EAGAIN and transfers that move nothing
constexpr int kMostReadings = 3;       // of a block whose checksum is wrong

}  // namespace

ScratchFile::ScratchFile(const ScratchOptions& options, ScratchShape shape, Lease lease, std::unique_ptr<IoBackend> io)
    : shape_(shape),
      lease_(std::move(lease)),
      file_(File::create_scratch(options.dir, shape.total(), options.place)),
      io_(std::move(io)),
      cipher_(options.encrypt ? std::make_unique<BlockCipher>() : nullptr),
      records_(static_cast<std::size_t>(shape.slots * shape.blocks)),
      generations_(static_cast<std::size_t>(shape.slots)),
      held_(static_cast<std::size_t>(shape.slots)),
      jobs_(IoBackend::kDepth) {
  JERICHO_CHECK(shape.block_bytes.count > 0 && shape.block_bytes.count % kAlign == 0, "blocks of {} B",
                shape.block_bytes.count);
  JERICHO_CHECK(lease_.tier() == Tier::kDisk && lease_.size() == shape.total(), "a lease of {} B for {} B",
                lease_.size().count, shape.total().count);
  lease_.commit(lease_.size());
  for (Slot slot = shape.slots; slot-- > 0;) free_.push_back(slot);
  for (Ticket ticket = jobs_.size(); ticket-- > 0;) unused_.push_back(ticket);
}

ScratchFile::~ScratchFile() {
  std::array<IoResult, IoBackend::kDepth> ignored;
  while (io_->in_flight() > 0)
    io_->poll(ignored, IoWait::kForOne);  // they use the callers' buffers, which die after us
}

Bytes ScratchFile::meta_bytes(ScratchShape shape) {
  const Index per_slot = shape.blocks * static_cast<Index>(sizeof(Record)) +
                         static_cast<Index>(sizeof(std::uint32_t) + sizeof(std::uint8_t) + sizeof(Slot));
  return {shape.slots * per_slot + static_cast<Index>(IoBackend::kDepth * (sizeof(Job) + sizeof(Ticket)))};
}

std::optional<ScratchFile::Slot> ScratchFile::allocate() {
  if (free_.empty()) return std::nullopt;
  const Slot slot = free_.back();
  free_.pop_back();
  ++generations_[static_cast<std::size_t>(slot)];
  held_[static_cast<std::size_t>(slot)] = 1;
  return slot;
}

void ScratchFile::release(Slot slot) {
  JERICHO_CHECK(slot >= 0 && slot < shape_.slots && held_[static_cast<std::size_t>(slot)] != 0,
                "release of free slot {}", slot);
  held_[static_cast<std::size_t>(slot)] = 0;
  for (Index block = 0; block < shape_.blocks; ++block) record(slot, block) = {};
  free_.push_back(slot);
}

ScratchFile::Ticket ScratchFile::write(Slot slot, Index block, std::span<std::byte> buffer) {
  record(slot, block).written = false;  // until all of it is on the disk, nobody may read it
  return start(IoOp::kWrite, slot, block, buffer);
}

ScratchFile::Ticket ScratchFile::read(Slot slot, Index block, std::span<std::byte> buffer) {
  JERICHO_CHECK(record(slot, block).written, "slot {} block {} was not written", slot, block);
  return start(IoOp::kRead, slot, block, buffer);
}

ScratchFile::Ticket ScratchFile::start(IoOp op, Slot slot, Index block, std::span<std::byte> buffer) {
  JERICHO_CHECK(slot >= 0 && slot < shape_.slots && held_[static_cast<std::size_t>(slot)] != 0 && block >= 0 &&
                    block < shape_.blocks,
                "slot {} block {}", slot, block);
  JERICHO_CHECK(
      buffer.size() == shape_.block_bytes.size() && reinterpret_cast<std::uintptr_t>(buffer.data()) % kAlign == 0,
      "a buffer of {} B", buffer.size());
  JERICHO_CHECK(!unused_.empty(), "more than {} blocks in flight", jobs_.size());
  const Ticket ticket = unused_.back();
  unused_.pop_back();
  Job& job = jobs_[ticket];
  job = {.op = op,
         .slot = slot,
         .block = block,
         .generation = generations_[static_cast<std::size_t>(slot)],
         .buffer = buffer,
         .left = buffer,
         .offset = shape_.block_bytes.count * (slot * shape_.blocks + block),
         .active = true};
  if (op == IoOp::kWrite) {
    Record& r = record(slot, block);
    if (cipher_) {
      r.sealed = cipher_->seal(name_of(job), buffer);
    } else {
      r.checksum = checksum(job);
    }
  }
  submit(ticket);
  return ticket;
}

void ScratchFile::submit(Ticket ticket) {
  const Job& job = jobs_[ticket];
  io_->submit({file_.fd(), job.op, job.offset, job.left, ticket});
}

void ScratchFile::poll(IoWait wait) {
  std::array<IoResult, IoBackend::kDepth> results;
  const std::size_t count = io_->poll(results, wait);
  for (std::size_t i = 0; i < count; ++i) complete(results[i]);
}

bool ScratchFile::done(Ticket ticket) {
  if (!jobs_[ticket].finished) poll(IoWait::kNone);
  return jobs_[ticket].finished;
}

void ScratchFile::arrive(Ticket ticket) {
  JERICHO_CHECK(jobs_[ticket].active, "ticket {} was waited for", ticket);
  while (!jobs_[ticket].finished) poll(IoWait::kForOne);
}

bool ScratchFile::unverified(Ticket ticket) const {
  const Job& job = jobs_[ticket];
  return job.finished && job.op == IoOp::kRead && job.failure.empty() && !job.good;
}

void ScratchFile::verify(Ticket ticket) { jobs_[ticket].good = is_good(jobs_[ticket]); }

void ScratchFile::wait(Ticket ticket) {
  Job& job = jobs_[ticket];
  while (true) {
    arrive(ticket);
    if (unverified(ticket)) verify(ticket);
    if (!job.failure.empty() || job.op == IoOp::kWrite || *job.good) break;
    if (++job.mended == kMostReadings) {
      job.failure = "is not what was written there; the disk or its memory is faulty";
      break;
    }
    ++counts_.mended;
    job.left = job.buffer;
    job.offset = shape_.block_bytes.count * (job.slot * shape_.blocks + job.block);
    job.finished = false;
    job.good.reset();
    submit(ticket);
  }
  if (job.failure.empty()) {
    if (job.op == IoOp::kWrite) finish_write(job);
    (job.op == IoOp::kWrite ? counts_.written : counts_.read) += shape_.block_bytes;
  }
  job.active = false;
  unused_.push_back(ticket);
  if (!job.failure.empty()) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: {} at byte {}: {}", file_.path(), job.op == IoOp::kWrite ? "writing" : "reading",
                            job.offset, std::exchange(job.failure, {})));
  }
}

void ScratchFile::complete(const IoResult& result) {
  const auto ticket = static_cast<Ticket>(result.tag);
  Job& job = jobs_[ticket];
  std::int64_t moved = std::max<std::int64_t>(0, result.transferred);
  if (moved < static_cast<std::int64_t>(job.left.size())) moved = moved / kAlign * kAlign;  // go on from a whole block
  job.offset += moved;
  job.left = job.left.subspan(static_cast<std::size_t>(moved));
  if (job.left.empty()) {
    job.finished = true;
    return;
  }
  const auto error = static_cast<int>(result.transferred < 0 ? -result.transferred : 0);
  job.retries = moved > 0 ? 0 : job.retries + 1;
  const bool again = error == 0 || error == EINTR || error == EAGAIN;
  const bool once_more = error == EIO && ++job.failures < kMostFailures;
  if ((again || once_more) && job.retries <= kMostRetries) return submit(ticket);
  const bool full = error == ENOSPC || error == EDQUOT;
  job.failure = fmt::format("{}{}", error != 0 ? std::strerror(error) : "the kernel moves no data",
                            full ? "; free some space there or name another folder" : "");
  job.finished = true;
}

void ScratchFile::finish_write(Job& job) {
  if (generations_[static_cast<std::size_t>(job.slot)] == job.generation) record(job.slot, job.block).written = true;
}

BlockName ScratchFile::name_of(const Job& job) const {
  return {static_cast<std::uint64_t>(job.slot * shape_.blocks + job.block), job.generation};
}

std::uint64_t ScratchFile::checksum(const Job& job) const {
  const BlockName name = name_of(job);
  return XXH3_64bits_withSeed(job.buffer.data(), job.buffer.size(), XXH3_64bits(&name, sizeof name));
}

bool ScratchFile::is_good(const Job& job) {
  const Record& r = record(job.slot, job.block);
  return cipher_ ? cipher_->open(name_of(job), r.sealed, job.buffer) : checksum(job) == r.checksum;
}

}  // namespace jericho
