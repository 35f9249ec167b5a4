// Reading adapters under the plan's leases: see adapters.h.
#include "engine/adapters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/prefix_key.h"
#include "memory/arena.h"

namespace jericho {

AdapterChoice parse_adapter_choice(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::error_code ignored;
  if (colon == std::string::npos || std::filesystem::is_directory(text, ignored)) return {text};
  const std::string_view number = std::string_view(text).substr(colon + 1);
  float scale = 0;
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), scale);
  if (failure != std::errc() || end != number.data() + number.size() || !std::isfinite(scale)) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--adapter {}: expected FOLDER or FOLDER:SCALE, '{}' is no number", text, number));
  }
  return {text.substr(0, colon), scale};
}

AdapterSet::AdapterSet(const std::vector<AdapterChoice>& choices, const ModelConfig& config, ModelFormat base) {
  for (const AdapterChoice& choice : choices) {
    Entry entry{.choice = choice, .file = std::make_unique<AdapterFile>(choice.folder)};
    entry.layout = std::make_unique<AdapterLayout>(config, *entry.file, base);
    if (entry.layout->needs_base() && choices.size() > 1) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--adapter {}: is of DoRA, whose gains are those of the base and its own terms together; "
                              "expected no other --adapter beside it",
                              choice.folder.string()));
    }
    entries_.push_back(std::move(entry));
  }
}

AdapterShape AdapterSet::shape(const WeightLayout& base, int threads) const {
  AdapterShape shape;
  for (const Entry& entry : entries_) {
    shape.bytes += arena_bytes(entry.layout->bytes());
    shape.staging = std::max(shape.staging, entry.layout->norm_staging_bytes(base, threads));
    shape.rank = std::max(shape.rank, entry.layout->largest_rank());
  }
  return shape;
}

std::string AdapterSet::describe() const {
  std::string text;
  for (const Entry& entry : entries_) {
    text += fmt::format("adapter {}: {} modules of rank up to {}, {} parameters{}{}\n", entry.choice.folder.string(),
                        entry.file->modules().size(), entry.layout->largest_rank(), entry.file->parameters(),
                        entry.layout->needs_base() ? ", DoRA" : "",
                        entry.choice.scale == 1 ? "" : fmt::format(", times {}", entry.choice.scale));
  }
  return text;
}

std::string AdapterSet::fingerprint() const {
  std::string text;
  for (const Entry& entry : entries_) {
    const Sha256 hash =
        files_hash(std::array{entry.choice.folder / kAdapterConfig, entry.choice.folder / kAdapterTensors});
    text.append(reinterpret_cast<const char*>(hash.data()), hash.size());
    text += fmt::format("{:a};", entry.choice.scale);
  }
  return text;
}

void AdapterSet::load(const Context& context, const ModelConfig& config, const WeightLayout& base,
                      const ModelFile* file, IoBackend& io, const std::stop_token& stop) {
  for (Entry& entry : entries_) {
    Arena arena(context.ledger.require(Tier::kRam, Purpose::kAdapter, arena_bytes(entry.layout->bytes())),
                {.populate = true});
    entry.adapter = std::make_unique<Adapter>(config, *entry.layout, entry.choice.scale, std::move(arena));
    if (entry.layout->needs_base()) {
      if (file == nullptr) {
        throw Error(ErrorKind::kUnsupported, fmt::format("adapter {}: DoRA needs a base whose weights are in a file",
                                                         entry.choice.folder.string()));
      }
      const Bytes needed = entry.layout->norm_staging_bytes(base, context.pool.threads());
      Arena staging(context.ledger.require(Tier::kRam, Purpose::kWeightsStaging, arena_bytes(needed)),
                    {.populate = true});
      entry.adapter->divide_by_norms(context, *entry.layout, base, *file, io, staging.bytes(), stop);
    }
    list_.push_back(&entry.adapter->weights());
  }
}

bool AdapterSet::adapts(std::size_t place) const {
  const auto is_there = [&](const AdaptedWeight& weight) { return weight.place == place; };
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    const std::vector<AdaptedWeight>& weights = entry.layout->weights();
    return std::any_of(weights.begin(), weights.end(), is_there);
  });
}

std::vector<const LowRankWeight*> AdapterSet::terms(std::size_t place) const {
  std::vector<const LowRankWeight*> terms;
  for (const Entry& entry : entries_) {
    if (const LowRankWeight* weight = entry.adapter->find(place)) terms.push_back(weight);
  }
  return terms;
}

}  // namespace jericho
