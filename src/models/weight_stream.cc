// What is read ahead, and when: see weight_stream.h.
#include "models/weight_stream.h"

#include <utility>

#include "base/check.h"

namespace jericho {

WeightStream::WeightStream(const ModelConfig& config, const WeightLayout& layout, const ModelFile& file,
                           WeightResidency residency, std::vector<PackedMatrix*> views, Arena staging,
                           Arena expert_slots, const MakeIo& make_io, CpuPath path)
    : units_(config, layout),
      residency_(std::move(residency)),
      views_(std::move(views)),
      staging_(std::move(staging)),
      expert_slots_(std::move(expert_slots)),
      ring_(residency_.ring),
      groups_(static_cast<std::size_t>(units_.groups())) {
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
  if (const WeightPlacement* table = units_.row_table()) {
    rows_.emplace(*table, File::open_read(file.files()[static_cast<std::size_t>(table->source->file)]), make_io(),
                  staging_.bytes().last(units_.rows_bytes().size()), path);
  }
  if (!residency_.reads_units()) return;
  reader_.emplace(file, make_io(), staging_.bytes().subspan(residency_.ring.size()), units_.room());
  if (residency_.experts.slots > 0) experts_.emplace(units_, views_, *reader_, expert_slots_.bytes());
  read_ahead();
}

void WeightStream::begin(Index tokens, bool with_head) {
  JERICHO_CHECK(!in_pass_, "a second pass over weights that stream");
  in_pass_ = true;
  with_head_ = with_head;
  ++begun_;
  if (experts_) experts_->step(tokens);
  read_ahead();
}

void WeightStream::use(const Context& context, Index group) {
  const std::vector<std::size_t>& wanted = groups_[static_cast<std::size_t>(group)];
  if (!wanted.empty() && !held_.empty() && held_.front() == wanted.front()) return;  // in use already
  give_up_held();
  read_ahead();
  for (const std::size_t unit : wanted) {
    JERICHO_CHECK(!coming_.empty() && coming_.front().unit == unit, "unit {} does not come", unit);
    const UnitReader::Unit read = coming_.front().read;
    coming_.pop_front();
    held_.push_back(unit);  // its place is in use, whatever becomes of it
    bind(unit, reader_->finish(context, read));
  }
}

void WeightStream::bind(std::size_t index, const std::byte* data) {
  const WeightUnit& unit = units_.units()[index];
  if (unit.group >= units_.first_head_group()) {
    head_piece(unit).matrix.data = data;
  } else {
    views_[unit.placement]->data = data;
  }
}

void WeightStream::give_up_held() {
  for (const std::size_t index : held_) {
    if (units_.units()[index].group < units_.first_head_group()) bind(index, nullptr);
    ring_.release();
  }
  held_.clear();
}

void WeightStream::end() {
  give_up_held();
  if (experts_) experts_->release();
  in_pass_ = false;
  if (next_pass_ < begun_) next_pass_ = begun_, next_in_order_ = 0;  // also past a head that was not wanted
  read_ahead();
}

void WeightStream::abandon() {
  give_up_held();
  if (experts_) experts_->release();
  in_pass_ = false;
  for (const Coming& coming : coming_) reader_->drop(coming.read);
  coming_.clear();
  ring_.clear();
  announced_.reset();
  next_pass_ = begun_;
  next_in_order_ = 0;
}

Bytes WeightStream::give_back(Bytes wanted) {
  JERICHO_CHECK(!in_pass_, "memory is wanted back within a pass");
  return experts_ ? experts_->give_back(wanted, expert_slots_) : Bytes{};
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

void WeightStream::read_ahead() {
  if (order_.empty()) return;
  while (true) {
    if (!announced_) announced_ = next_unit();
    if (!announced_) break;
    const WeightPlacement& weight = *units_.units()[*announced_].weight;
    const std::optional<Bytes> place = ring_.take(InPlace::of(weight).size);
    if (!place) break;
    coming_.push_back({*announced_, reader_->start(weight, staging_.bytes().data() + place->count)});
    announced_.reset();
  }
  reader_->poll();
}

}  // namespace jericho
