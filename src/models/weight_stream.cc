// The thread that reads and packs ahead, and the caller that waits for it: see weight_stream.h.
#include "models/weight_stream.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "models/matrix_packer.h"

namespace jericho {

WeightStream::WeightStream(const ModelConfig& config, const WeightLayout& layout, const ModelFile& file,
                           WeightResidency residency, std::vector<PackedMatrix*> views, Arena staging,
                           const MakeIo& make_io, CpuPath path)
    : units_(config, layout),
      residency_(std::move(residency)),
      views_(std::move(views)),
      staging_(std::move(staging)),
      path_(path),
      groups_(static_cast<std::size_t>(units_.groups())),
      ring_(residency_.ring) {
  const std::vector<WeightUnit>& units = units_.units();
  JERICHO_CHECK(residency_.pinned.size() == units.size(), "a choice among {} units of {}", residency_.pinned.size(),
                units.size());
  head_.resize(static_cast<std::size_t>(units_.groups() - units_.first_head_group()));
  for (std::size_t i = 0; i < units.size(); ++i) {
    const bool of_head = units[i].group >= units_.first_head_group();
    if (of_head) head_piece(units[i]) = {view_of(*units[i].weight, nullptr), units[i].first_row};
    if (residency_.pinned[i]) continue;
    if (!of_head) ++head_begins_;
    order_.push_back(i);
    groups_[static_cast<std::size_t>(units[i].group)].push_back(i);
  }
  for (const auto& path_of_file : file.files()) files_.push_back(File::open_read(path_of_file));
  if (const WeightPlacement* table = units_.row_table()) {
    rows_.emplace(*table, File::open_read(file.files()[static_cast<std::size_t>(table->source->file)]), make_io(),
                  staging_.bytes().last(units_.rows_bytes().size()), path_);
  }
  if (order_.empty()) return;
  io_ = make_io();
  start_reader();
  thread_ = std::thread([this] { run(); });
}

WeightStream::~WeightStream() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    interrupt_.request_stop();
  }
  wake_.notify_all();
  thread_.join();
}

void WeightStream::begin(bool with_head) {
  const std::lock_guard lock(mutex_);
  JERICHO_CHECK(!in_pass_, "a second pass over weights that stream");
  in_pass_ = true;
  with_head_ = with_head;
  ++begun_;
  wake_.notify_all();
}

void WeightStream::use(Index group) {
  const std::vector<std::size_t>& wanted = groups_[static_cast<std::size_t>(group)];
  std::unique_lock lock(mutex_);
  if (!wanted.empty() && !held_.empty() && held_.front() == wanted.front()) return;  // in use already
  give_up_held();
  for (const std::size_t unit : wanted) {
    changed_.wait(lock, [&] { return !packed_.empty() || failure_.has_value(); });
    if (packed_.empty()) throw Error(*failure_);
    JERICHO_CHECK(packed_.front().unit == unit, "unit {} is used where {} comes", unit, packed_.front().unit);
    bind(packed_.front());
    held_.push_back(unit);
    packed_.pop_front();
  }
}

void WeightStream::bind(const Packed& packed) {
  const WeightUnit& unit = units_.units()[packed.unit];
  const std::byte* const data = staging_.bytes().data() + packed.place.count;
  if (unit.group >= units_.first_head_group()) {
    head_piece(unit).matrix.data = data;
  } else {
    views_[unit.placement]->data = data;
  }
}

void WeightStream::give_up_held() {
  if (held_.empty()) return;
  for (const std::size_t index : held_) {
    const WeightUnit& unit = units_.units()[index];
    if (unit.group < units_.first_head_group()) views_[unit.placement]->data = nullptr;
    ring_.release();
  }
  held_.clear();
  wake_.notify_all();
}

void WeightStream::end() {
  const std::lock_guard lock(mutex_);
  give_up_held();
  in_pass_ = false;
  if (next_pass_ < begun_) next_pass_ = begun_, next_in_order_ = 0;  // also past a head that was not wanted
  wake_.notify_all();
}

void WeightStream::abandon() {
  std::unique_lock lock(mutex_);
  give_up_held();
  in_pass_ = false;
  if (!thread_.joinable()) return;
  abandoned_ = true;
  interrupt_.request_stop();
  wake_.notify_all();
  changed_.wait(lock, [&] { return !abandoned_; });
}

void WeightStream::start_reader() {
  const std::size_t ring = round_up(residency_.ring, 4096_B).size();
  const Bytes slot = StreamReader::slot_bytes(units_.largest_chunk());
  reader_.reset();  // waits for what it has in flight
  reader_.emplace(*io_, staging_.bytes().subspan(ring, (slot * residency_.slots).size()),
                  StreamOptions{.slot_bytes = slot});
}

// The unit to announce next. The head comes only once the pass is known to want it.
std::optional<std::size_t> WeightStream::next_unit() {
  while (true) {
    if (next_in_order_ == order_.size()) ++next_pass_, next_in_order_ = 0;
    if (next_pass_ > begun_) return std::nullopt;
    if (next_in_order_ < head_begins_) break;
    if (next_pass_ == begun_) return std::nullopt;
    if (with_head_) break;
    next_in_order_ = order_.size();
  }
  return order_[next_in_order_++];
}

void WeightStream::announce_ahead() {
  while (reader_->pending() < residency_.slots) {
    const std::optional<std::size_t> next = next_unit();
    if (!next) return;
    const WeightPlacement& weight = *units_.units()[*next].weight;
    const Bytes row = weight.file_row();
    const Index chunk = chunk_rows(weight);
    for (Index first = 0; first < weight.file_rows(); first += chunk) {
      reader_->enqueue(files_[static_cast<std::size_t>(weight.source->file)], weight.file_offset() + first * row.count,
                       row * std::min(chunk, weight.file_rows() - first));
    }
    coming_.push_back({*next, std::nullopt, 0});
  }
}

void WeightStream::pack_chunk(Coming& coming) {
  const WeightPlacement& weight = *units_.units()[coming.unit].weight;
  const std::span<const std::byte> chunk = with_context([&] { return fmt::format("tensor '{}'", weight.source->name); },
                                                        [&] { return reader_->next(interrupt_.get_token()); });
  const Bytes room = round_up(units_.strip_room(), 4096_B);
  const auto rooms = staging_.bytes().subspan(
      (round_up(residency_.ring, 4096_B) + StreamReader::staging_bytes(units_.largest_chunk(), residency_.slots))
          .size(),
      room.size());
  const Index rows = std::min(chunk_rows(weight), weight.file_rows() - coming.row);
  MatrixPacker(path_, nullptr, weight, rooms, room, staging_.bytes().data() + coming.place->count)
      .pack(chunk, coming.row, rows);
  coming.row += rows;
}

void WeightStream::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (abandoned_) {
      start_reader();  // may wait for the disk; the caller waits anyway
      coming_.clear();
      packed_.clear();
      ring_.clear();
      failure_.reset();
      interrupt_ = {};
      next_pass_ = begun_;
      next_in_order_ = 0;
      abandoned_ = false;
      changed_.notify_all();
    }
    if (!failure_) announce_ahead();
    if (failure_ || coming_.empty()) {
      wake_.wait(lock);
      continue;
    }
    Coming& coming = coming_.front();
    const WeightPlacement& weight = *units_.units()[coming.unit].weight;
    if (!coming.place) coming.place = ring_.take(weight.size);
    if (!coming.place) {
      reader_->prefetch();
      wake_.wait(lock);
      continue;
    }
    lock.unlock();
    std::optional<Error> failure;
    try {
      pack_chunk(coming);
    } catch (const Error& error) {
      failure = error;
    }
    lock.lock();
    if (failure) {
      if (!abandoned_ && !stopping_) failure_ = std::move(failure);
    } else if (coming.row == weight.file_rows()) {
      packed_.push_back({coming.unit, *coming.place});
      coming_.pop_front();
    } else {
      continue;
    }
    changed_.notify_all();
  }
}

}  // namespace jericho
