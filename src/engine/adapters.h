// The adapters that a verb was given, from their folders to what sessions take: the same ledger, plan and order for all
// verbs. Start at AdapterSet; models/adapter.h is what one of them is.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "formats/adapter_file.h"
#include "formats/model_file.h"
#include "memory/io.h"
#include "models/adapter.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/context.h"
#include "plan/plan.h"

namespace jericho {

struct AdapterChoice {
  std::filesystem::path folder{};
  float scale = 1;  // times what the file says
};

// "FOLDER" or "FOLDER:SCALE". Error(kUsage) for a scale that is no number.
AdapterChoice parse_adapter_choice(const std::string& text);

class AdapterSet {
 public:
  // From headers alone. Error(kUsage) where a DoRA adapter is not alone: its gains are of the base and its own terms.
  // Others as AdapterFile and AdapterLayout.
  AdapterSet(const std::vector<AdapterChoice>& choices, const ModelConfig& config, ModelFormat base);

  [[nodiscard]] AdapterShape shape(const WeightLayout& base, int threads) const;
  // One line for people.
  [[nodiscard]] std::string describe() const;
  // SHA-256 of the files and the scales: keys and values depend on it.
  [[nodiscard]] std::string fingerprint() const;

  // Under leases of Purpose::kAdapter. `file` is null for a base of random weights, over which DoRA has no norms:
  // Error(kUnsupported).
  void load(const Context& context, const ModelConfig& config, const WeightLayout& base, const ModelFile* file,
            IoBackend& io, const std::stop_token& stop);
  [[nodiscard]] AdapterList list() const { return list_; }  // after load()

  // Of a weight at this place in the list of weights: is it adapted, and by what, after load().
  [[nodiscard]] bool adapts(std::size_t place) const;
  [[nodiscard]] std::vector<const LowRankWeight*> terms(std::size_t place) const;

 private:
  struct Entry {
    AdapterChoice choice{};
    std::unique_ptr<AdapterFile> file{};
    std::unique_ptr<AdapterLayout> layout{};
    std::unique_ptr<Adapter> adapter{};
  };
  std::vector<Entry> entries_;
  std::vector<const AdapterWeights*> list_;
};

}  // namespace jericho
