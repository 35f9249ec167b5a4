// Units, groups and what a choice of them takes: see weight_units.h.
#include "models/weight_units.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "memory/pinned_set.h"
#include "memory/staging_ring.h"
#include "models/embedding_rows.h"
#include "models/matrix_packer.h"

namespace jericho {
namespace {

constexpr Bytes kBlock{4096};  // what a direct read begins and ends on
constexpr Bytes kLargestHeadPiece = 8_MiB;
constexpr Bytes kSmallest = 16_KiB;  // a block of the disk more or less is much of what is smaller

// Reading a row again must cost no more than packing it: stored parts that are decoded together, transposed matrices
// and what becomes another type are for loading to undo, once.
bool can_read_again(const WeightPlacement& p) {
  return p.source != nullptr && p.spec.is_matrix() && p.repacking() == nullptr && !p.form.transposed &&
         p.dtype == p.source->dtype;
}

bool can_stream(const WeightPlacement& p) { return can_read_again(p) && p.spec.use.expert < 0 && p.size >= kSmallest; }

// What is taken from the disk for a weight.
Bytes read_bytes(const WeightPlacement& p) { return round_up(InPlace::of(p).needed, kBlock); }

Bytes stored_bytes(const WeightPlacement& p) { return p.file_row() * p.file_rows(); }

}  // namespace

double ExpertCaching::read_per_pass(double tokens) const {
  if (slots == 0) return 0;
  const auto each = static_cast<double>(of_layer);
  const double met = each * (1 - std::pow(1 - static_cast<double>(per_token) / each, tokens));
  return static_cast<double>(experts) / each * met * (1 - hit_rate()) * static_cast<double>(read.count);
}

WeightUnits::WeightUnits(const ModelConfig& config, const WeightLayout& layout)
    : layout_(layout),
      in_units_(layout.placements().size(), false),
      whole_layers_(config.layer_passes > 1),
      tied_(config.tie_word_embeddings),
      first_head_group_(config.num_hidden_layers * (whole_layers_ ? 1 : 2)) {
  const std::vector<WeightPlacement>& placements = layout.placements();
  std::size_t head = 0;  // the embedding where they are tied
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const WeightUse& use = placements[i].spec.use;
    if (use.layer < 0 && placements[i].spec.is_matrix()) head = i;
    if (use.layer >= 0 && can_stream(placements[i])) add(placements[i], i, group(use.layer, use.part), 0);
  }
  if (can_stream(placements.front())) row_table_ = &placements.front();
  if (can_stream(placements[head])) cut_head(placements[head], head);
  add_experts(config);
  for (std::size_t i = 0; i < placements.size(); ++i) {
    if (in_units(i) || &placements[i] == row_table_) continue;
    always_ += placements[i].size;
    always_loaded_ += placements[i].repacking() == nullptr ? stored_bytes(placements[i]) : 0_B;
  }
}

void WeightUnits::add(const WeightPlacement& weight, std::size_t placement, Index group, Index first_row) {
  units_.push_back({&weight, placement, group, first_row});
  in_units_[placement] = true;
  pinnable_ += weight.size;
  largest_unit_ = std::max(largest_unit_, weight.size);
  room_ = std::max(room_, InPlace::room_bytes(weight));
}

void WeightUnits::add_experts(const ModelConfig& config) {
  const std::vector<WeightPlacement>& placements = layout_.placements();
  first_expert_.assign(static_cast<std::size_t>(config.num_hidden_layers), 0);
  Index layer = -1;
  Bytes read{};
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const WeightUse& use = placements[i].spec.use;
    if (use.expert < 0) continue;
    if (!can_read_again(placements[i])) return experts_.clear();
    if (use.layer != layer) first_expert_[static_cast<std::size_t>(use.layer)] = std::ssize(experts_);
    layer = use.layer;
    const auto unit = static_cast<std::size_t>(expert_unit(layer, use.expert));
    if (unit == experts_.size()) experts_.emplace_back();
    experts_[unit].placements.push_back(i);
    read += read_bytes(placements[i]);
  }
  if (experts_.empty()) return;
  Bytes smallest = layout_.bytes();
  for (const ExpertUnit& expert : experts_) {
    Bytes size{}, packed{};
    for (const std::size_t i : expert.placements) {
      size += InPlace::of(placements[i]).size;
      packed += placements[i].size;
      room_ = std::max(room_, InPlace::room_bytes(placements[i]));
    }
    expert_bytes_ = std::max(expert_bytes_, size);
    smallest = std::min(smallest, packed);
  }
  if (smallest < kSmallest) {
    experts_.clear();
    expert_bytes_ = {};
    return;
  }
  for (const ExpertUnit& expert : experts_) {
    for (const std::size_t i : expert.placements) in_units_[i] = true;
  }
  experts_of_layer_ = config.moe.experts;
  experts_per_token_ = config.moe.experts_per_token;
  expert_read_ = Bytes{read.count / std::ssize(experts_)};
}

void WeightUnits::cut_head(const WeightPlacement& head, std::size_t placement) {
  const Index chunk = chunk_rows(head);
  // No larger than a unit of the layers, so that the ring is not larger for it.
  const Bytes about = std::min(largest_unit_, kLargestHeadPiece);
  const Index rows = std::max<Index>(1, about.count / (head.file_row() * chunk).count) * chunk;
  head_pieces_ = ceil_div(head.spec.rows, rows);
  for (Index n = 0; n < head_pieces_; ++n) {
    WeightPlacement& piece = pieces_.emplace_back(head);
    piece.spec.rows = std::min(rows, head.spec.rows - n * rows);
    piece.form.parts.front().first_row += n * rows;
    piece.offset = {};
    piece.size = packed_bytes(piece.dtype, piece.spec.rows, piece.spec.cols);
    add(piece, placement, first_head_group_ + n, n * rows);
  }
}

WeightResidency WeightUnits::whole() const {
  WeightResidency all;
  all.resident = layout_.bytes();
  all.loaded = layout_.file_bytes();
  return all;
}

WeightResidency WeightUnits::pin(Bytes room, StreamDepth depth) const {
  WeightResidency r;
  r.whole = false;
  std::vector<Bytes> sizes;
  for (const WeightUnit& unit : units_) sizes.push_back(unit.weight->size);
  r.pinned = spread_pins(sizes, room);
  r.resident = always_;
  r.loaded = always_loaded_;
  std::vector<Bytes> streamed(static_cast<std::size_t>(groups()));
  Bytes largest{};
  for (std::size_t i = 0; i < units_.size(); ++i) {
    const WeightPlacement& weight = *units_[i].weight;
    if (r.pinned[i]) {
      r.resident += weight.size;
      r.loaded += stored_bytes(weight);
      continue;
    }
    const Bytes size = InPlace::of(weight).size;
    streamed[static_cast<std::size_t>(units_[i].group)] += size;
    largest = std::max(largest, size);
    r.read_per_pass += read_bytes(weight);
  }
  std::sort(streamed.begin(), streamed.end(), std::greater<>());
  Bytes together{};
  for (std::size_t i = 0; i < streamed.size() && i < static_cast<std::size_t>(depth.groups); ++i)
    together += streamed[i];
  if (together > Bytes{}) r.ring = StagingRing::capacity_for(together, largest);
  if (!experts_.empty()) {
    const Index more = std::max<Index>(0, (room - pinnable_).count) / expert_bytes_.count;
    r.experts = {std::min<Index>(least_slots() + more, std::ssize(experts_)), std::ssize(experts_), experts_of_layer_,
                 experts_per_token_, expert_read_};
  }
  if (row_table_ != nullptr) r.read_per_token = round_up(row_table_->file_row(), kBlock) + kBlock;
  return r;
}

Bytes WeightUnits::staging_bytes(const WeightResidency& residency, int threads) const {
  if (residency.whole) return {};
  Bytes bytes = rows_bytes();
  if (residency.reads_units()) bytes += residency.ring + round_up(room_ * threads, kBlock);
  return bytes;
}

Bytes WeightUnits::rows_bytes() const {
  return row_table_ == nullptr ? 0_B : EmbeddingRows::staging_bytes(*row_table_);
}

Bytes WeightUnits::books_bytes() const {
  constexpr Bytes kPerUnit{192};     // here, in the stream and in the plan
  constexpr Bytes kReads{16 << 10};  // that are on their way
  return kPerUnit * static_cast<std::int64_t>(units_.size() + experts_.size()) + kReads;
}

std::vector<WeightUnits::Resident> WeightUnits::residents(const WeightResidency& residency) const {
  std::vector<Resident> all;
  const std::vector<WeightPlacement>& placements = layout_.placements();
  if (residency.whole) {
    for (std::size_t i = 0; i < placements.size(); ++i)
      all.push_back({&placements[i], i, std::nullopt, placements[i].offset});
    return all;
  }
  Bytes offset{};
  for (std::size_t i = 0; i < placements.size(); ++i) {
    if (in_units(i) || &placements[i] == row_table_) continue;
    all.push_back({&placements[i], i, std::nullopt, offset});
    offset += placements[i].size;
  }
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (!residency.pinned[i]) continue;
    const Index piece = units_[i].group - first_head_group_;
    all.push_back({units_[i].weight, units_[i].placement,
                   piece >= 0 ? std::optional(static_cast<std::size_t>(piece)) : std::nullopt, offset});
    offset += units_[i].weight->size;
  }
  return all;
}

}  // namespace jericho
