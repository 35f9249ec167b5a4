// The weights of a decoder: which tensors there must be, under which name each format keeps them, and where they lie in
// memory once packed. visit_weights() is the one list; sizes, loading, random weights and the forward pass all go by
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "formats/model_file.h"
#include "kernels/packed_matrix.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "memory/stream_reader.h"
#include "models/config.h"
#include "ops/context.h"
#include "ops/linear.h"

namespace jericho {

struct LinearWeight {
  PackedMatrix matrix{};
  std::span<const float> bias{};  // empty: none
};

struct DecoderLayer {
  std::span<const float> input_norm{};
  LinearWeight q{}, k{}, v{}, o{};
  std::span<const float> q_norm{}, k_norm{};  // [head_dim], with qk_norm
  std::span<const float> post_attention_norm{};
  LinearWeight gate{}, up{}, down{};
};

struct DecoderWeights {  // views into a ModelWeights' arena
  PackedMatrix embedding{};
  std::vector<DecoderLayer> layers{};
  std::span<const float> norm{};
  PackedMatrix head{};                     // the embedding where they are tied
  std::span<const float> rope_divisors{};  // rope_freqs of a GGUF, [dims / 2]
};

// One tensor: its names and its shape.
struct WeightSpec {
  std::string hugging_face{};
  std::string gguf{};
  Index rows = 0;  // 1 for vectors
  Index cols = 0;
  Index unit_multiple = 1;  // the unit of the segments is a multiple of this many columns (head_dim for o_proj)
  Index paired_rows = 0;    // the file keeps each head of this many rows in rotation pairs; 0: plain order
  bool is_matrix = true;    // packed in its file's type; vectors are kept as fp32

  [[nodiscard]] const std::string& name(ModelFormat format) const {
    return format == ModelFormat::kGguf ? gguf : hugging_face;
  }
};

using WeightView = std::variant<PackedMatrix*, std::span<const float>*>;

// Calls visit(spec, where the view of it belongs) for every weight of a model of this configuration, in a fixed order.
void visit_weights(const ModelConfig& config, DecoderWeights& weights,
                   const std::function<void(const WeightSpec&, WeightView)>& visit);

// A tensor's place in the arena. Offsets are multiples of 64.
struct WeightPlacement {
  WeightSpec spec{};
  DType dtype{};
  const TensorInfo* source = nullptr;  // null for random weights
  Bytes offset{};
  Bytes size{};
};

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
  [[nodiscard]] ActivationForms forms() const { return forms_; }         // what the matrices multiply with
  [[nodiscard]] Bytes bytes_per_token() const { return decode_bytes_; }  // weights that one decoded token reads

 private:
  void place(WeightPlacement placement, bool read_whole_per_token);

  std::vector<WeightPlacement> placements_;
  Bytes bytes_{};
  Index parameters_ = 0;
  Bytes file_bytes_{};
  Bytes largest_chunk_{};
  Bytes decode_bytes_{};
  ActivationForms forms_{};
};

// How a tensor is cut for reading: rows per chunk, a multiple of whole strips and whole heads.
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
  // Room for two chunks in flight and, per thread, a strip of gathered rows.
  static Bytes staging_bytes(const WeightLayout& layout, int threads);

  [[nodiscard]] const DecoderWeights& views() const { return views_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return arena_.bytes(); }

 private:
  ModelWeights(const ModelConfig& config, const WeightLayout& layout, Arena arena);

  Arena arena_;
  DecoderWeights views_;
};

}  // namespace jericho
