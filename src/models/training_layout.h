// Where the weights of a model and their gradients lie while it is trained: every weight of the list (weight_list.h)
// under the name its checkpoint gives it, matrices as fp32 rows or in fewer bits, and for each a gradient per use. A
// weight that is used more than once (an embedding that is the head too, layers that run twice) has a gradient of each
// use, and they are added when the step's micro-batches are done: so the sum does not depend on how the step was cut
// into micro-batches. Start at TrainingLayout.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "models/config.h"
#include "ops/stored_rows.h"
#include "tensor/view.h"

namespace jericho {

enum class TrainedKind { kProjection, kEmbedding, kHead, kVector };

// What matrices are stored in: F32, BF16, or QC8, eight bits with a scale per 128 values of a row. Vectors are fp32.
// QC8 holds rows of whole groups; others are stored in BF16 where QC8 is asked for.
struct WeightTypes {
  DType projections = DType::kF32;
  DType embeddings = DType::kF32;  // and the head

  bool operator==(const WeightTypes&) const = default;
};

enum class TensorFate {
  kTrained,
  kFrozen,    // of the base that adapters are trained beside: lies elsewhere, as it is stored
  kComputed,  // from others, before every step
};

// Adapters that are trained in the place of the weights (ops/low_rank_training.h).
struct AdapterTraining {
  Index rank = 16;  // even
  double alpha = 32;
  bool rslora = false;                 // scale alpha / sqrt(rank) in place of alpha / rank
  bool dora = false;                   // and magnitudes
  std::vector<std::string> targets{};  // last names of modules ("q_proj"); none: all projections of all layers

  [[nodiscard]] double scale() const;
};

struct TrainedAdapter {  // indices into tensors(); -1: has none
  Index a = -1, b = -1;
  Index magnitude = -1, gain = -1;
  float scale = 0;
};

struct TrainedTensor {
  std::string name{};  // in a Hugging Face checkpoint
  Index rows = 1;
  Index cols = 0;
  TrainedKind kind = TrainedKind::kProjection;
  TensorFate fate = TensorFate::kTrained;
  Index layer = -1;              // -1: of no layer
  Index head_rows = 0;           // of q and k: rows of a head
  float neutral = 1;             // the start value of vectors
  bool residual_output = false;  // of a projection into the residual stream: o and down
  DType dtype = DType::kF32;
  Bytes offset{};                  // of its rows among all, a multiple of 64
  std::vector<Index> gradients{};  // offsets of the gradient of each use

  [[nodiscard]] Index size() const { return rows * cols; }
  [[nodiscard]] Bytes row_bytes() const { return stored_row_bytes(dtype, cols); }
  [[nodiscard]] Bytes stored_bytes() const { return row_bytes() * rows; }
  [[nodiscard]] bool is_matrix() const { return kind != TrainedKind::kVector; }
  [[nodiscard]] bool is_trained() const { return fate == TensorFate::kTrained; }
};

struct TrainedLayer {  // indices into tensors(); -1: has none
  Index attention_norm = -1, q = -1, k = -1, v = -1, o = -1;
  Index q_bias = -1, k_bias = -1, v_bias = -1;
  Index q_norm = -1, k_norm = -1;
  Index feed_forward_norm = -1, gate = -1, up = -1, down = -1;
};

class TrainingLayout {
 public:
  // Error(kUnsupported) that names what of the configuration cannot be trained. With `adapters` the model's own tensors
  // are frozen, and those of the adapters, in fp32, follow them; Error(kUsage) for a target that names none.
  explicit TrainingLayout(const ModelConfig& config, const WeightTypes& types = {},
                          const std::optional<AdapterTraining>& adapters = {});

  [[nodiscard]] const std::vector<TrainedTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const TrainedTensor& tensor(Index index) const { return tensors_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] const std::vector<TrainedLayer>& layers() const { return layers_; }
  [[nodiscard]] Index embedding() const { return embedding_; }
  [[nodiscard]] Index norm() const { return norm_; }
  [[nodiscard]] Index head() const { return head_; }  // the embedding where they are tied
  [[nodiscard]] Index head_use() const { return head_ == embedding_ ? 1 : 0; }
  [[nodiscard]] Index parameters() const;  // that are trained
  // Of a weight; null where it has none.
  [[nodiscard]] const TrainedAdapter* adapter(Index weight) const;
  [[nodiscard]] bool has_adapters() const { return !adapters_.empty(); }
  [[nodiscard]] Index adapter_rank() const { return adapter_rank_; }
  // How many of tensors() are the model's own: the first of them.
  [[nodiscard]] std::size_t model_tensors() const { return model_tensors_; }
  // Of products forward, of those backward, and of the gradients of what is trained.
  [[nodiscard]] double flops_per_token() const;
  // Of products, per token: every projection as often as it runs, and the head.
  [[nodiscard]] Index multiplied_parameters() const { return multiplied_; }
  [[nodiscard]] Bytes weight_bytes() const { return weight_bytes_; }        // padding included
  [[nodiscard]] Index gradient_values() const { return gradient_values_; }  // fp32 values, padding included
  [[nodiscard]] bool all_fp32() const;

  // `weights` has weight_bytes(). A tensor's rows as they are stored, or as fp32 values where they are those.
  [[nodiscard]] std::span<std::byte> stored(std::span<std::byte> weights, Index index) const;
  [[nodiscard]] MatrixView<float> weight(std::span<std::byte> weights, Index index) const;
  // Of all tensors, as a pass reads them; of frozen ones nothing.
  [[nodiscard]] std::vector<StoredRows> weights(std::span<const std::byte> weights) const;
  // Of use `use`; -1 is no tensor.
  [[nodiscard]] MatrixView<float> gradient(std::span<float> gradients, Index index, Index use) const;

 private:
  void add_adapters(const AdapterTraining& adapters);

  std::vector<TrainedTensor> tensors_;
  std::vector<TrainedAdapter> adapters_;  // of the model's tensors; empty: there are none
  Index adapter_rank_ = 0;
  std::size_t model_tensors_ = 0;
  Index multiplied_trained_ = 0;
  std::vector<TrainedLayer> layers_;
  Index embedding_ = -1, norm_ = -1, head_ = -1;
  Index multiplied_ = 0;
  Bytes weight_bytes_{};
  Index gradient_values_ = 0;
};

}  // namespace jericho
