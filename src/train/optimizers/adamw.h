// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) as torch.optim.AdamW has it; the loop is kernels/adamw.h.
#pragma once

#include <memory>

#include "train/optimizers.h"

namespace jericho {

std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options, const TrainedShape& shape);

}  // namespace jericho
