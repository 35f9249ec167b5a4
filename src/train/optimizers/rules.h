// One function for each rule; make_optimizer() chooses among them. What a rule leaves to AdamW, as the papers do
// (embeddings, head, norms under a rule for projections), its function returns AdamW for. Where each comes from stands
// in its file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/philox.h"
#include "kernels/adamw.h"
#include "ops/context.h"
#include "tensor/view.h"
#include "train/optimizers.h"

namespace jericho {

using MakeOptimizer = std::unique_ptr<Optimizer>(const OptimizerOptions& options, const TrainedShape& shape);

MakeOptimizer make_adamw, make_adamw_hf, make_adamw8, make_sgd, make_lion, make_adafactor, make_muon, make_adam_mini,
    make_galore, make_apollo;

// What Adam in the form of torch.optim takes from a step, each value computed in double and rounded once.
AdamWStep adamw_step(const OptimizerOptions& options, const TrainedShape& shape, const UpdateStep& update);

// For the tensors that a rule for projections leaves out: what options.regular says for embeddings and head, else AdamW
// as the references have it.
MakeOptimizer make_regular;

// APOLLO on bases that are drawn otherwise.
using DrawBasis =
    std::function<void(const Context& context, PhiloxKey key, std::uint32_t refresh, MatrixView<float> basis)>;
std::unique_ptr<Optimizer> make_apollo_on(const OptimizerOptions& options, const TrainedShape& shape, DrawBasis draw);

}  // namespace jericho
