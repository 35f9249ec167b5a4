// The one list of a decoder's weights: which there must be for a configuration, what each format calls them and how it
// keeps them, and which view of the model each becomes. Sizes, loading, random weights, conversion and the forward pass
// all go by visit_weights(). Where the weights lie in memory: weights.h.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "formats/model_file.h"
#include "kernels/packed_matrix.h"
#include "models/config.h"

namespace jericho {

struct LinearWeight {
  PackedMatrix matrix{};
  std::span<const float> bias{};  // empty: none
};

struct ExpertWeights {
  PackedMatrix gate{}, up{}, down{};
};

struct LatentWeights {  // DeepSeek-V2's names
  LinearWeight q{};     // where there is no q_a
  LinearWeight q_a{}, q_b{}, kv_a{};
  std::span<const float> q_a_norm{}, kv_a_norm{};
  std::vector<PackedMatrix> k_b{};  // per head [kv_lora_rank, nope_dim]: W_UK transposed
  std::vector<PackedMatrix> v_b{};  // per head [value_dim, kv_lora_rank]
};

struct StateSpaceWeights {
  LinearWeight z{}, x{}, b{}, c{}, dt{};  // the parts of in_proj; mamba has z and x only
  std::span<const float> conv{};          // [channels, conv_kernel]; channels: x, then b and c of mamba2
  std::span<const float> conv_bias{};
  PackedMatrix x_dt{}, x_b{}, x_c{};  // mamba: the parts of x_proj
  PackedMatrix dt_proj{};             // mamba: [inner, dt_rank]
  std::span<const float> dt_bias{};   // [inner] or [heads]
  std::span<const float> dt_norm{}, b_norm{}, c_norm{};
  std::span<const float> a{};     // -exp(A_log): [inner, state] or [heads]
  std::span<const float> d{};     // [inner] or [heads]
  std::span<const float> norm{};  // [inner]
  LinearWeight out{};
};

struct DecoderLayer {
  std::span<const float> attention_norm{}, attention_post_norm{};
  LinearWeight q{}, k{}, v{}, o{};
  std::span<const float> q_norm{}, k_norm{};  // [head_dim], or of the whole projection
  std::span<const float> attention_sub_norm{};
  LatentWeights latent{};
  StateSpaceWeights state_space{};
  std::span<const float> feed_forward_norm{}, feed_forward_post_norm{}, feed_forward_sub_norm{};
  LinearWeight gate{}, up{}, down{};  // dense, or of the shared expert
  PackedMatrix router{};              // F32 [experts, hidden]
  PackedMatrix shared_router{};       // F32 [1, hidden]
  std::span<const float> router_bias{};
  std::vector<ExpertWeights> experts{};
};

struct DecoderWeights {  // views into a ModelWeights' arena
  PackedMatrix embedding{};
  std::vector<DecoderLayer> layers{};
  std::span<const float> norm{};
  PackedMatrix head{};                          // the embedding where they are tied
  std::span<const float> rope_divisors{};       // of a GGUF, [dims / 2]: rope_freqs, or longrope's short list
  std::span<const float> rope_long_divisors{};  // longrope's other list
};

// Rows [first_row, first_row + rows of the weight) of a tensor whose extents but the last are counted together; of a
// vector, elements.
struct TensorPart {
  std::string name{};
  Index first_row = 0;
  Index tensor_rows = 0;       // 0: the tensor is the weight
  std::vector<Index> shape{};  // to be written, where it is not [rows, cols]
};

enum class StoredValues {
  kAsIs,
  kWithoutOne,   // w, where 1 + w is meant
  kNegativeLog,  // log(-a), where a is meant
};

// Within each head of `head_rows` rows, rows [first, first + count) are kept in rotation pairs: the row i + j count / 2
// of them lies at 2 i + j. count 0: plain order.
struct RowPairs {
  Index head_rows = 0;
  Index first = 0;
  Index count = 0;
};

struct StoredForm {                 // how one format keeps a weight
  std::vector<TensorPart> parts{};  // alternatives: what the file has is read, the first is written
  RowPairs pairs{};
  StoredValues values = StoredValues::kAsIs;
  bool transposed = false;  // of matrices
  float factor = 1;         // what is kept is the weight times this
};

enum class Keep {
  kPacked,     // a matrix, packed in its file's type
  kPackedF32,  // a matrix, packed as F32
  kValues,     // fp32 values in the file's order
};

enum class LayerPart : std::uint8_t { kMixer, kFeedForward };  // attention or state space; what follows it

struct WeightUse {   // when a forward pass reads a weight
  Index layer = -1;  // -1: before all layers, or after them
  LayerPart part = LayerPart::kMixer;
  Index expert = -1;  // -1: for every token
};

// One weight: its shape, where it comes from and when it is used.
struct WeightSpec {
  StoredForm hugging_face{}, gguf{};
  Index rows = 1;  // 1 for vectors
  Index cols = 0;
  Index unit_multiple = 1;  // the unit of the segments is a multiple of this many columns (head_dim for o_proj)
  Keep keep = Keep::kPacked;
  double read_per_token = 1;  // share that one decoded token reads: 0 for a gathered embedding
  float neutral = 1;          // values without a file
  WeightUse use{};

  [[nodiscard]] const StoredForm& form(ModelFormat format) const {
    return format == ModelFormat::kGguf ? gguf : hugging_face;
  }
  // What is written, and what errors name.
  [[nodiscard]] const std::string& name(ModelFormat format) const { return form(format).parts.front().name; }
  [[nodiscard]] bool is_matrix() const { return keep != Keep::kValues; }
};

using WeightView = std::variant<PackedMatrix*, std::span<const float>*>;
using WeightVisitor = std::function<void(const WeightSpec&, WeightView)>;

// Calls visit(spec, where the view of it belongs) for every weight of a model of this configuration, in a fixed order.
void visit_weights(const ModelConfig& config, DecoderWeights& weights, const WeightVisitor& visit);

}  // namespace jericho
