// Low-rank adapters over a decoder's linear modules: which weight each module of a PEFT file (formats/adapter_file.h)
// belongs to, and its two matrices in memory, beside the base and in fp32 whatever the file's type. Rows of q and k are
// in the order of Hugging Face's files, which is ours (docs/models.md), so a base from any format will do.
// Start at AdapterLayout; Adapter owns the bytes, AdapterWeights are the views that a forward pass reads.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/adapter_file.h"
#include "formats/model_file.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/weight_list.h"
#include "models/weights.h"
#include "ops/context.h"
#include "ops/low_rank.h"

namespace jericho {

struct LayerAdapter {
  LowRankWeight q{}, k{}, v{}, o{}, gate{}, up{}, down{};
};

struct AdapterWeights {  // views into an Adapter's arena
  std::vector<LayerAdapter> layers{};
  LowRankWeight head{};
  Index largest_rank = 0;
};

// What some rows of a batch have, in the order in which their terms are added; views.
using AdapterList = std::span<const AdapterWeights* const>;

// Calls visit(spec, the adapted weight, its place in the list) for every linear module of the model that may have an
// adapter. The place counts all weights of visit_weights(), as WeightLayout::placements() does.
using AdaptableVisitor = std::function<void(const WeightSpec&, LowRankWeight&, std::size_t place)>;
void visit_adaptable(const ModelConfig& config, AdapterWeights& weights, const AdaptableVisitor& visit);

// "model.layers.0.self_attn.q_proj", as PEFT calls the module of a weight.
std::string module_path(const WeightSpec& spec);

struct AdaptedWeight {
  const AdapterModule* module = nullptr;
  WeightSpec spec{};
  std::size_t place = 0;   // in the list of weights
  Bytes a{}, b{}, gain{};  // offsets in the arena
};

class AdapterLayout {
 public:
  // Error(kInput) that names a module which the model does not have, or a tensor of another shape than its own;
  // Error(kUnsupported) one that cannot be adapted. `file` outlives the layout.
  AdapterLayout(const ModelConfig& config, const AdapterFile& file, ModelFormat base);

  [[nodiscard]] const AdapterFile& file() const { return *file_; }
  [[nodiscard]] const std::vector<AdaptedWeight>& weights() const { return weights_; }
  [[nodiscard]] Bytes bytes() const { return bytes_; }  // of the arena, with room for reading
  [[nodiscard]] Index largest_rank() const { return largest_rank_; }
  [[nodiscard]] bool needs_base() const { return file_->settings().dora; }
  // What Adapter::divide_by_norms() takes.
  [[nodiscard]] Bytes norm_staging_bytes(const WeightLayout& base, int threads) const;

 private:
  friend class Adapter;
  const AdapterFile* file_;
  std::vector<AdaptedWeight> weights_;
  Bytes bytes_{}, room_{};
  Index largest_rank_ = 0;
};

// Read-only once made; shared by sessions.
class Adapter {
 public:
  // Reads the file into `arena`, which has layout.bytes() and is zero. `scale` multiplies that of the file.
  Adapter(const ModelConfig& config, const AdapterLayout& layout, float scale, Arena arena);
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  // Of DoRA: magnitudes become gains, magnitude / norm of the row of W + s B A (arXiv:2402.09353, eq. 5), for which the
  // base is read once. `staging` has norm_staging_bytes() and starts on a multiple of 4096.
  void divide_by_norms(const Context& context, const AdapterLayout& layout, const WeightLayout& base,
                       const ModelFile& file, IoBackend& io, std::span<std::byte> staging, const std::stop_token& stop);

  [[nodiscard]] const AdapterWeights& weights() const { return weights_; }
  [[nodiscard]] const LowRankWeight* find(std::size_t place) const;  // of the list of weights; null: not adapted

 private:
  Arena arena_;
  AdapterWeights weights_;
  std::vector<std::pair<std::size_t, LowRankWeight*>> by_place_;  // ascending
};

// w [in] = row n of the base's weight gains that of s B A; `u` has rank values. The numbers of kernels/low_rank.h.
void add_to_weight_row(const Kernels& kernels, const LowRankWeight& adapter, Index n, std::span<float> w,
                       std::span<float> u);
// The norm of a row, its squares in 16 lanes.
float row_norm(CpuPath path, std::span<const float> w);
// What DoRA multiplies a row by; a row of zeros stays one.
inline float dora_gain(float magnitude, float norm) { return norm > 0 ? magnitude / norm : 0; }

}  // namespace jericho
