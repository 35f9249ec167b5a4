// Where adapters begin, and DoRA's gains before every step (ops/low_rank_training.h): B is 0, so that training begins
// at the base; A is uniform within 1 / sqrt(in), as PEFT draws it; magnitudes are the norms of the base's rows.
#pragma once

#include <cstdint>
#include <span>

#include "memory/arena.h"
#include "models/training_layout.h"
#include "ops/context.h"

namespace jericho {

void make_first_adapters(const Context& context, const TrainingLayout& layout, std::uint64_t seed,
                         std::span<const StoredRows> weights, std::span<std::byte> trained, Scratch& scratch);

// gain = magnitude / norm of the row of W + s B A, for what has magnitudes. `weights` of all tensors, `trained` the
// layout's own; takes gain_scratch().
void compute_gains(const Context& context, const TrainingLayout& layout, std::span<const StoredRows> weights,
                   std::span<std::byte> trained, Scratch& scratch);
Bytes gain_scratch(const TrainingLayout& layout, int threads);

}  // namespace jericho
