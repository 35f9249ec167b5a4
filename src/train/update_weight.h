// One update of one tensor, whatever it is stored in: fp32 rows change in place; rows in fewer bits are decoded,
// changed and rounded at random again (kernels/stochastic_rows.h), one after the other where the rule only says where
// to go, else as a whole copy in scratch. Start at update_weight().
#pragma once

#include <span>
#include <string>

#include "kernels/stochastic_rows.h"
#include "memory/arena.h"
#include "models/training_layout.h"
#include "ops/context.h"
#include "train/optimizer.h"

namespace jericho {

// The key of a tensor's random numbers in a run.
PhiloxKey stream_key(std::uint64_t seed, const std::string& name);

// What update_weight() takes of its scratch.
Bytes update_scratch(const Optimizer& optimizer, const TrainedTensor& tensor, int threads);

// `weight` is the tensor as it is stored.
void update_weight(const Context& context, const Optimizer& optimizer, const UpdateStep& update,
                   const TrainedTensor& tensor, std::span<std::byte> weight, MatrixView<float> gradient,
                   std::span<std::byte> state, Scratch& scratch);

// fp32 rows to stored ones. `first` is the number of the first row within the tensor.
void round_rows(const Context& context, const TrainedTensor& tensor, MatrixView<const float> values, Index first,
                const RoundingStream& stream, std::span<std::byte> rows);

}  // namespace jericho
