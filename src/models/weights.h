// The weights of a decoder in memory: where each of the list (weight_list.h) lies once packed, how it gets there from a
// file, and how a forward pass asks for it. Start at WeightLayout; loading is load_weights.cc, what need not be in
// memory weight_units.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/function_ref.h"
#include "formats/model_file.h"
#include "formats/repacking.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/weight_list.h"
#include "ops/context.h"
#include "ops/linear.h"
#include "tensor/view.h"

namespace jericho {

// A tensor's place in the arena. Offsets are multiples of 64.
struct WeightPlacement {
  WeightSpec spec{};
  DType dtype{};                       // in memory
  const TensorInfo* source = nullptr;  // null for random weights
  StoredForm form{};                   // of the source; its one part is the one that the file has
  Bytes offset{};
  Bytes size{};

  // The rows that are read from the source, in its order.
  // Blocks cannot be turned: of those that the file keeps transposed the values are, which nothing rounds again.
  [[nodiscard]] bool turns_values() const { return source != nullptr && form.transposed && is_block(source->dtype); }
  [[nodiscard]] Bytes turned_bytes() const {  // of all its values
    return turns_values() ? storage_bytes(DType::kF32, file_cols()) * file_rows() : 0_B;
  }

  [[nodiscard]] Index file_rows() const { return form.transposed ? spec.cols : spec.rows; }
  [[nodiscard]] Index file_cols() const { return form.transposed ? spec.rows : spec.cols; }
  [[nodiscard]] Bytes file_row() const { return storage_bytes(source == nullptr ? dtype : source->dtype, file_cols()); }
  [[nodiscard]] std::int64_t file_offset() const;  // of the first of them
  // What makes rows of several stored tensors, which are then read whole; null where the file has the rows themselves.
  [[nodiscard]] const Repacking* repacking() const { return source == nullptr ? nullptr : source->repacking.get(); }
  // Are its columns packed in an order of their own? It lies behind them. Floats are put in the order of the inputs.
  [[nodiscard]] bool ordered() const {
    return repacking() != nullptr && repacking()->ordered() && dtype == source->dtype;
  }
};

inline constexpr Bytes kWeightChunk = 1_MiB;  // a good size for one direct read

// Where every weight of a model will lie, decided from headers alone; the planner and the loader both take it.
class WeightLayout {
 public:
  // Tensors of a file. Error(kInput) names a tensor that is missing or has another shape, kUnsupported a type that
  // cannot be used.
  static WeightLayout of_file(const ModelConfig& config, const ModelFile& file);
  // A model without a file: every matrix of type `dtype`, vectors F32. Rows that do not divide into blocks are F16.
  static WeightLayout of_shape(const ModelConfig& config, DType dtype);

  [[nodiscard]] const std::vector<WeightPlacement>& placements() const { return placements_; }
  [[nodiscard]] Bytes bytes() const { return bytes_; }                   // of the arena
  [[nodiscard]] Index parameters() const { return parameters_; }         // elements in the file
  [[nodiscard]] Bytes file_bytes() const { return file_bytes_; }         // of the tensors used
  [[nodiscard]] Bytes largest_chunk() const { return largest_chunk_; }   // what a staging slot must hold
  [[nodiscard]] Bytes largest_parts() const { return largest_parts_; }   // what stored parts of one weight must hold
  [[nodiscard]] ActivationForms forms() const { return forms_; }         // what the matrices multiply with
  [[nodiscard]] Bytes bytes_per_token() const { return decode_bytes_; }  // weights that one decoded token reads

 private:
  void place(WeightPlacement placement);

  std::vector<WeightPlacement> placements_;
  Bytes bytes_{};
  Index parameters_ = 0;
  Bytes file_bytes_{};
  Bytes largest_chunk_{};
  Bytes largest_parts_{};
  Bytes decode_bytes_{};
  ActivationForms forms_{};
};

// How a tensor is cut for reading: file rows per chunk, a multiple of whole strips and whole heads; all of a transposed
// one.
Index chunk_rows(const WeightPlacement& placement);

// The view of a weight whose packed bytes begin at `data`; null: nowhere yet.
PackedMatrix view_of(const WeightPlacement& placement, const std::byte* data);
void set_view(const WeightView& view, const WeightPlacement& placement, const std::byte* data);

struct WeightResidency;
class WeightStream;
using MakeIo = std::function<std::unique_ptr<IoBackend>()>;

struct ExpertUse {  // in one pass
  Index expert = 0;
  Index tokens = 0;  // that chose it
};

struct ExpertCounts {         // of a cache of experts
  std::int64_t hits = 0;      // asked for and in memory
  std::int64_t foreseen = 0;  // asked for and already on their way
  std::int64_t reads = 0;
  std::int64_t expected = 0;  // of the reads, those begun before anybody asked
};

// Owns the packed weights. Thread-safe for reading once made, unless some of them stream: then one pass at a time.
class ModelWeights {
 public:
  using Progress = std::function<void(Bytes done, Bytes total)>;

  // Reads the file's tensors through `staging` (staging_bytes()) and packs them into `arena`, which has layout.bytes().
  // Error(kInterrupted) on a stop request; errors of the file name it and the tensor.
  static ModelWeights load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                           const ModelFile& file, Arena arena, IoBackend& io, std::span<std::byte> staging,
                           const std::stop_token& stop, const Progress& progress);
  // The same for those that are resident, into an `arena` of residency.resident bytes; stream() then brings the others.
  static ModelWeights load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                           const WeightResidency& residency, const ModelFile& file, Arena arena, IoBackend& io,
                           std::span<std::byte> staging, const std::stop_token& stop, const Progress& progress);
  // Starts to read what is not resident, through `ring` of WeightUnits::staging_bytes() and into `expert_slots` of
  // slots_bytes(), by I/O of its own. `layout` and `file` outlive the weights.
  void stream(const ModelConfig& config, const WeightLayout& layout, const WeightResidency& residency,
              const ModelFile& file, Arena ring, Arena expert_slots, const MakeIo& make_io, CpuPath path);
  // Weights drawn from `seed`, small enough for finite activations. For benchmarks.
  static ModelWeights random(const Context& context, const ModelConfig& config, const WeightLayout& layout, Arena arena,
                             std::uint64_t seed);
  // Room for two chunks in flight, the stored parts of one weight where there are such, the values of one that is
  // turned and, per thread, a strip of gathered rows and one row of values.
  static Bytes staging_bytes(const WeightLayout& layout, int threads);

  ModelWeights(ModelWeights&& other) noexcept;
  ~ModelWeights();

  // Those of weights that stream have no data but while a pass uses them.
  [[nodiscard]] const DecoderWeights& views() const { return views_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return arena_.bytes(); }  // that are resident
  // Gives memory of weights that need not be there back, about `wanted`, and says how much. Between two passes.
  Bytes give_back(Bytes wanted);
  [[nodiscard]] std::optional<ExpertCounts> expert_counts() const;  // nothing where all experts are

 private:
  friend class WeightPass;
  ModelWeights(const ModelConfig& config, const WeightLayout& layout, Arena arena);
  explicit ModelWeights(Arena arena);

  Arena arena_;
  DecoderWeights views_;
  std::unique_ptr<WeightStream> stream_;  // null: everything is resident
};

// The weights during one forward pass, asked for in the order of its use. What streams is there between one request and
// the next; what is resident costs nothing. A pass that does not come to its end() is begun afresh by the next.
class WeightPass {
 public:
  // `with_head`: logits are wanted.
  WeightPass(const Context& context, const ModelWeights& weights, Index tokens, bool with_head);
  ~WeightPass();
  WeightPass(const WeightPass&) = delete;
  WeightPass& operator=(const WeightPass&) = delete;

  // y[t] = row ids[t] of the embedding.
  void embedding(std::span<const std::int32_t> ids, MatrixView<float> y) const;
  // Waits for this part of the layer. Errors of the file name it and the tensor.
  const DecoderLayer& layer(Index layer, LayerPart part) const;
  // Of any layer, without waiting: what is always resident is there, vectors and routers.
  [[nodiscard]] const DecoderLayer& resident(Index layer) const;
  // Experts that may be in memory at once; nothing where all always are, and then nobody need ask for them.
  [[nodiscard]] std::optional<Index> expert_slots() const;
  // ExpertStore::choose(), acquire(), wants_guesses() and expect().
  void choose_experts(Index layer, std::span<const ExpertUse> experts) const;
  void acquire_experts(Index layer, std::span<const ExpertUse> now, std::span<const ExpertUse> next) const;
  [[nodiscard]] bool wants_guesses(Index layer) const;
  void expect_experts(Index layer, std::span<const std::int32_t> experts) const;
  // The head, in ascending rows: body(rows, the first of them).
  void head(FunctionRef<void(const PackedMatrix& rows, Index first)> body) const;
  void end();

 private:
  const Context& context_;
  const ModelWeights& weights_;
  bool ended_ = false;
};

}  // namespace jericho
