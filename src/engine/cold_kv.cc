// Groups, the ring, and who reads what next: see cold_kv.h. Visit v of a step is read into place v % ring; writes use
// the same places when no reads are in them. The block after the ring is that of the write behind.
#include "engine/cold_kv.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "models/blocks.h"

namespace jericho {

ColdKv::ColdKv(const ModelConfig& config, const Plan& plan, ThreadPool& pool, Arena ring,
               std::unique_ptr<ScratchFile> file)
    : config_(config),
      layout_(plan.kv),
      layer_(plan.kv),
      plan_(plan.cold),
      pool_(pool),
      ring_(std::move(ring)),
      file_(std::move(file)),
      held_(static_cast<std::size_t>(plan.sequences)),
      selects_(plan.selection.has_value()),
      ring_places_(static_cast<std::size_t>(plan.cold.ring)),
      table_(static_cast<std::size_t>(round_up(ceil_div(plan.context, kPageTokens), plan.cold.group_pages))) {
  layer_.layers = 1;
  visits_.reserve(static_cast<std::size_t>(plan_.visits));
  arrived_.reserve(ring_places_.size());
}

ColdKv::~ColdKv() = default;

std::span<std::byte> ColdKv::block(std::size_t place) const {
  const std::size_t size = plan_.scratch.block_bytes.size();
  return ring_.bytes().subspan(place * size, size);
}

Index ColdKv::pages(Index sequence) const {
  return std::ssize(held_[static_cast<std::size_t>(sequence)].groups) * plan_.group_pages;
}

void ColdKv::settle(std::size_t place) {
  if (const auto ticket = std::exchange(ring_places_[place].ticket, std::nullopt)) file_->wait(*ticket);
}

// After an Error, whatever else is under way is still waited for: its place is about to be used again.
void ColdKv::settle_all() {
  std::optional<Error> failure;
  for (std::size_t place = 0; place < ring_places_.size(); ++place) {
    try {
      settle(place);
    } catch (const Error& error) {
      if (!failure) failure = error;
    }
  }
  if (failure) throw *failure;
}

void ColdKv::drop_reads() {
  try {
    settle_all();
  } catch (const Error&) {  // of blocks that nobody wants any more
  }
  taken_ = started_ = 0;
  visits_.clear();
}

// What the pages keep of a layer.
void ColdKv::fill(std::span<std::byte> block, std::span<std::byte* const> pages, Index layer) const {
  const std::size_t part = layout_.key_offset(1, 0).size();
  for (std::size_t page = 0; page < pages.size(); ++page)
    std::memcpy(block.data() + page * part, pages[page] + layout_.key_offset(layer, 0).count, part);
  std::memset(block.data() + pages.size() * part, 0, block.size() - pages.size() * part);
}

// The layers from `first` on. On an Error the slot is free again.
void ColdKv::write_layers(ScratchFile::Slot slot, Index first, std::span<std::byte* const> pages) {
  if (first == layout_.layers) return;
  drop_reads();
  const auto start = std::chrono::steady_clock::now();
  const Bytes written = file_->counts().written;
  try {
    for (Index layer = first; layer < layout_.layers; ++layer) {
      const std::size_t place = static_cast<std::size_t>(layer) % ring_places_.size();
      settle(place);
      fill(block(place), pages, layer);
      ring_places_[place].ticket = file_->write(slot, layer, block(place));
    }
    settle_all();
  } catch (const Error&) {
    drop_reads();
    file_->release(slot);
    throw;
  }
  write_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  waited_for_ += file_->counts().written - written;
}

std::optional<ScratchFile::Slot> ColdKv::write(std::span<std::byte* const> pages) {
  const auto slot = file_->allocate();
  if (slot) write_layers(*slot, 0, pages);
  return slot;
}

bool ColdKv::settle_behind() {
  try {
    if (const auto ticket = std::exchange(behind_->ticket, std::nullopt)) file_->wait(*ticket);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void ColdKv::drop_behind() {
  if (!behind_) return;
  static_cast<void>(settle_behind());
  ++behind_counts_.given_up;
  file_->release(behind_->slot);
  behind_.reset();
}

std::optional<Index> ColdKv::behind() const { return behind_ ? std::optional(behind_->sequence) : std::nullopt; }

void ColdKv::write_behind(Index sequence, std::span<std::byte* const> group) {
  JERICHO_CHECK(std::ssize(group) == plan_.group_pages, "a group of {} pages", group.size());
  if (behind_ && behind_->sequence != sequence) drop_behind();
  if (!behind_) {
    const auto slot = file_->allocate();
    if (!slot) return;
    behind_ = Behind{sequence, *slot};
  }
  if (behind_->layers == layout_.layers || (behind_->ticket && !file_->done(*behind_->ticket))) return;
  if (!settle_behind()) return drop_behind();
  const std::span<std::byte> to = block(ring_places_.size());
  fill(to, group, behind_->layers);
  behind_->ticket = file_->write(behind_->slot, behind_->layers++, to);
  ++behind_counts_.layers;
}

bool ColdKv::store(Index sequence, std::span<std::byte* const> group) {
  JERICHO_CHECK(std::ssize(group) == plan_.group_pages, "a group of {} pages", group.size());
  std::optional<ScratchFile::Slot> slot;
  if (behind_ && behind_->sequence == sequence && settle_behind()) {
    const Behind begun = *std::exchange(behind_, std::nullopt);
    write_layers(begun.slot, begun.layers, group);
    slot = begun.slot;
  } else {
    drop_behind();
    slot = write(group);
  }
  if (slot) held_[static_cast<std::size_t>(sequence)].groups.push_back(*slot);
  return slot.has_value();
}

bool ColdKv::park(Index sequence, std::span<std::byte* const> pages) {
  Held& held = held_[static_cast<std::size_t>(sequence)];
  JERICHO_CHECK(!held.parked && std::ssize(pages) <= plan_.group_pages, "parking {} pages", pages.size());
  drop_behind();
  held.parked = write(pages);
  return held.parked.has_value();
}

void ColdKv::unpark(Index sequence, std::span<std::byte* const> pages) {
  Held& held = held_[static_cast<std::size_t>(sequence)];
  JERICHO_CHECK(held.parked.has_value(), "sequence {} is not parked", sequence);
  drop_reads();
  const std::size_t part = layout_.key_offset(1, 0).size();
  for (Index layer = 0; layer < layout_.layers; ++layer) {
    file_->wait(file_->read(*held.parked, layer, block(0)));
    for (std::size_t page = 0; page < pages.size(); ++page)
      std::memcpy(pages[page] + layout_.key_offset(layer, 0).count, block(0).data() + page * part, part);
  }
  file_->release(*held.parked);
  held.parked.reset();
}

void ColdKv::forget(Index sequence) {
  if (behind_ && behind_->sequence == sequence) drop_behind();
  Held& held = held_[static_cast<std::size_t>(sequence)];
  if (held.groups.empty() && !held.parked) return;
  drop_reads();
  for (const ScratchFile::Slot slot : held.groups) file_->release(slot);
  if (held.parked) file_->release(*held.parked);
  held = {};
}

// Everything that attention will ask for, layer by layer: of each reader the groups that its first row sees, as often
// as the layer's block asks for them.
void ColdKv::list_visits() {
  std::int32_t kv = 0;
  for (const LayerConfig& layer : config_.layers) {
    if (!layer.attention) continue;
    for (Index pass = 0; pass < config_.layer_passes; ++pass, ++kv) {
      Index total = 0;
      for (const Reader& reader : readers_) total += reader.rows;
      const Index wave = config_.latent.kv_lora_rank > 0 ? kLatentWave : total;
      for (Index first = 0; first < total; first += wave) {
        Index row = 0;  // of the batch where a reader begins
        for (std::size_t r = 0; r < readers_.size(); row += readers_[r++].rows) {
          const Index from = std::max(first, row), to = std::min(first + wave, row + readers_[r].rows);
          if (from >= to) continue;
          const Held& held = held_[static_cast<std::size_t>(readers_[r].sequence)];
          const Index begin = QueryTokens{readers_[r].position + from - row, layer.window, 1}.begin(0);
          for (Index group = begin / group_tokens(); group < std::ssize(held.groups); ++group)
            visits_.push_back({static_cast<std::int32_t>(r), kv, group, held.groups[static_cast<std::size_t>(group)]});
        }
      }
    }
  }
  JERICHO_CHECK(std::ssize(visits_) <= plan_.visits, "{} blocks are read, the plan has {}", visits_.size(),
                plan_.visits);
}

ColdPages* ColdKv::begin_step(std::span<const Reader> readers) {
  const auto was = std::vector<Visit>(visits_.begin(), visits_.begin() + static_cast<std::ptrdiff_t>(started_));
  readers_.assign(readers.begin(), readers.end());
  visits_.clear();
  step_visits_ = 0;
  if (selects_) {
    const auto reads = [&](const Reader& reader) { return pages(reader.sequence) > 0; };
    return std::any_of(readers_.begin(), readers_.end(), reads) ? this : nullptr;
  }
  list_visits();
  const bool as_expected =
      taken_ == 0 && was.size() <= visits_.size() && std::equal(was.begin(), was.end(), visits_.begin());
  if (!as_expected) {
    drop_reads();
    list_visits();
  }
  if (visits_.empty()) return nullptr;
  step_visits_ = std::ssize(visits_);
  read_ahead();
  return this;
}

void ColdKv::end_step() {
  if (selects_ || taken_ != visits_.size() || visits_.empty()) return drop_reads();
  taken_ = started_ = 0;
  read_ahead();
}

// The block that was taken last is still in the hands of attention.
void ColdKv::read_ahead() {
  const std::size_t behind = taken_ > 0 ? taken_ - 1 : 0;
  for (; started_ < visits_.size() && started_ - behind < ring_places_.size(); ++started_) {
    const Visit& visit = visits_[started_];
    const std::size_t place = started_ % ring_places_.size();
    ring_places_[place].ticket = file_->read(visit.slot, visit.layer, block(place));
  }
}

Index ColdKv::end(std::int32_t sequence) const {
  return pages(readers_[static_cast<std::size_t>(sequence)].sequence) * kPageTokens;
}

void ColdKv::announce(Index layer, std::int32_t sequence, std::span<const Index> positions) {
  JERICHO_CHECK(selects_ && taken_ == visits_.size(), "{} of {} blocks were read", taken_, visits_.size());
  visits_.clear();
  taken_ = started_ = 0;
  const Held& held = held_[static_cast<std::size_t>(readers_[static_cast<std::size_t>(sequence)].sequence)];
  for (const Index position : positions) {
    const Index group = position / group_tokens();
    if (visits_.empty() || visits_.back().group != group)
      visits_.push_back(
          {sequence, static_cast<std::int32_t>(layer), group, held.groups[static_cast<std::size_t>(group)]});
  }
  step_visits_ += std::ssize(visits_);
  read_ahead();
}

ColdPages::Window ColdKv::read(Index layer, std::int32_t sequence, Index position) {
  const Index group = position / group_tokens();
  if (selects_ && taken_ == visits_.size()) {  // of rows that read everything: from here to the last
    std::vector<Index> rest;
    for (Index at = position; at < end(sequence); at += group_tokens()) rest.push_back(at);
    announce(layer, sequence, rest);
  }
  JERICHO_CHECK(taken_ < visits_.size(), "layer {} reads more than was listed", layer);
  const Visit& visit = visits_[taken_];
  JERICHO_CHECK(visit.reader == sequence && visit.layer == layer && visit.group == group,
                "group {} of sequence {} in layer {} instead of {} of {} in {}", group, sequence, layer, visit.group,
                visit.reader, visit.layer);
  const std::size_t place = taken_++ % ring_places_.size();
  read_ahead();
  verify_arrived(place);
  settle(place);
  const Index from = group * group_tokens();
  std::byte* part = block(place).data();
  for (Index page = 0; page < plan_.group_pages; ++page, part += layer_.key_offset(1, 0).count)
    table_[static_cast<std::size_t>(from / kPageTokens + page)] = part;
  tables_.assign(readers_.size(), table_);
  return {from, from + group_tokens(), layer_, tables_};
}

void ColdKv::verify_arrived(std::size_t place) {
  if (!ring_places_[place].ticket) return;
  file_->arrive(*ring_places_[place].ticket);
  if (!file_->unverified(*ring_places_[place].ticket)) return;
  arrived_.clear();
  for (const Place& each : ring_places_) {
    if (each.ticket && file_->unverified(*each.ticket)) arrived_.push_back(*each.ticket);
  }
  pool_.run(std::ssize(arrived_), [&](Index i, int) { file_->verify(arrived_[static_cast<std::size_t>(i)]); });
}

MatrixView<float> ColdKv::carried(Index rows, Index cols) {
  std::byte* const after_ring = block(ring_places_.size()).data() + plan_.scratch.block_bytes.size();
  JERICHO_CHECK(Bytes{rows * cols * static_cast<Index>(sizeof(float))} <= plan_.carried, "{} x {} are carried", rows,
                cols);
  return {reinterpret_cast<float*>(after_ring), rows, cols};
}

double ColdKv::bytes_per_second() const {
  return write_seconds_ > 0 ? static_cast<double>(waited_for_.count) / write_seconds_ : 0;
}

Bytes ColdKv::step_bytes() const { return plan_.scratch.block_bytes * step_visits_; }

}  // namespace jericho
