// New weights: normals from a counter keyed by the run's seed and the tensor, made a row at a time in what the tensor
// is stored in, so that no fp32 copy of a weight in fewer bits exists.
#pragma once

#include <cstdint>
#include <span>

#include "memory/arena.h"
#include "models/config.h"
#include "models/training_layout.h"
#include "ops/context.h"

namespace jericho {

inline constexpr std::uint32_t kInitPurpose = 1;  // of counters that first values are drawn by, adapters' too

struct FirstWeights {
  float deviation = 0.02f;
  bool scaled = true;  // outputs into the residual stream by 1 / sqrt(2 layers)
  std::uint64_t seed = 1;
};

Bytes first_weights_scratch(const TrainingLayout& layout, int threads);
// `weights` of the layout.
void make_first_weights(const Context& context, const ModelConfig& config, const TrainingLayout& layout,
                        const FirstWeights& how, std::span<std::byte> weights, Scratch& scratch);

}  // namespace jericho
