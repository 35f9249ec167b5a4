// The weights of a decoder in memory: where each of the list (weight_list.h) lies once packed, and how it gets there from
// a file. Start at WeightLayout; loading is load_weights.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "formats/model_file.h"
#include "formats/repacking.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/weight_list.h"
#include "ops/context.h"
#include "ops/linear.h"

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

// Owns the packed weights. Thread-safe for reading once made.
class ModelWeights {
 public:
  using Progress = std::function<void(Bytes done, Bytes total)>;

  // Reads the file's tensors through `staging` (staging_bytes()) and packs them into `arena`, which has layout.bytes().
  // Error(kInterrupted) on a stop request; errors of the file name it and the tensor.
  static ModelWeights load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                           const ModelFile& file, Arena arena, IoBackend& io, std::span<std::byte> staging,
                           const std::stop_token& stop, const Progress& progress);
  // Weights drawn from `seed`, small enough for finite activations. For benchmarks.
  static ModelWeights random(const Context& context, const ModelConfig& config, const WeightLayout& layout, Arena arena,
                             std::uint64_t seed);
  // Room for two chunks in flight, the stored parts of one weight where there are such, the values of one that is turned
  // and, per thread, a strip of gathered rows and one row of values.
  static Bytes staging_bytes(const WeightLayout& layout, int threads);

  [[nodiscard]] const DecoderWeights& views() const { return views_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return arena_.bytes(); }

 private:
  ModelWeights(const ModelConfig& config, const WeightLayout& layout, Arena arena);

  Arena arena_;
  DecoderWeights views_;
};

}  // namespace jericho
