// What training a model would hold, by method: weights, gradients, master copies and optimizer state per parameter, and
// the activations that the backward pass needs. Start at training_states(). The formulas, with sources: docs/audit.md.
#pragma once

#include <string_view>
#include <vector>

#include "audit/model_work.h"
#include "base/bytes.h"
#include "base/index.h"

namespace jericho {

enum class TrainingMethod {
  kAdamWFp32,     // everything fp32
  kAdamWMixed,    // bf16 weights and gradients, fp32 master and moments
  kAdamWBf16,     // bf16 throughout, no master
  kAdamW8Bit,     // mixed, moments in 8 bits by blocks of 256 (Dettmers et al. 2022, arXiv:2110.02861)
  kMomentumFp32,  // mixed, one moment: SGD, Lion (arXiv:2302.06675), Muon's matrices
  kMomentumBf16,  // the same, kept in bf16
  kAdafactor,     // rows and columns of the second moment only (Shazeer & Stern 2018, arXiv:1804.04235)
  kGaLore,        // moments in a subspace of rank r, and its projection (Zhao et al. 2024, arXiv:2403.03507)
  kApollo,        // moments in a random subspace that a seed makes again (Zhu et al. 2024, arXiv:2412.05270)
  kApolloMini,    // the same, r = 1
  kLora,          // adapters of rank r on every linear map of the layers (Hu et al. 2021, arXiv:2106.09685)
  kQLora,         // the same over a base in NF4 with doubly quantized scales (Dettmers et al. 2023, arXiv:2305.14314)
};
inline constexpr std::size_t kTrainingMethods = 12;
std::string_view name(TrainingMethod method);  // "adamw-mixed", ...

inline constexpr double kNf4DoubleQuantBits = 4 + 8.0 / 64 + 32.0 / (64 * 256);  // per weight, scales included

struct TrainingState {
  TrainingMethod method{};
  Index trainable = 0;  // parameters
  Bytes weights{};
  Bytes gradients{};
  Bytes master{};
  Bytes optimizer{};
  [[nodiscard]] Bytes total() const { return weights + gradients + master + optimizer; }
};

// Low-rank methods at `rank`: of matrices inside layers with more rows and columns than that; all else is trained with
// AdamW, or frozen beside an adapter.
TrainingState training_state(TrainingMethod method, const WeightLayout& weights, Index rank);
std::vector<TrainingState> training_states(const WeightLayout& weights, Index rank);

// Parameters of adapters of `rank` on every linear map of the layers: rank (rows + columns) each.
Index lora_parameters(const WeightLayout& weights, Index rank);

enum class Recompute {
  kNone,    // with an attention that keeps no scores
  kLayers,  // the input of each layer, and one layer at a time again (Chen et al. 2016, arXiv:1604.06174)
};
// In 16 bits, for `tokens` in all: what a Llama-like layer keeps for its backward pass, op by op. A state space keeps
// its projections and the inputs of its scan.
Bytes saved_activations(const ModelConfig& config, Index tokens, Recompute recompute);
// Of one layer with GELU and 16-bit values, scores kept (Korthikanti et al. 2022, arXiv:2205.05198, eq. 2).
double gelu_layer_bytes(double tokens, double hidden, double heads, double sequence);

// Logits and their gradient in fp32, of `tokens` at once.
Bytes training_logit_bytes(const ModelConfig& config, Index tokens);

}  // namespace jericho
