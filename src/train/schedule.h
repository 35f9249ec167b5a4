// The learning rate as a function of the step: a linear warmup, then cosine, linear, constant, or warmup-stable-decay
// (Hu et al. 2024, arXiv:2404.06395). No state.
#pragma once

#include <string>

#include "base/index.h"

namespace jericho {

struct Schedule {
  std::string shape = "cosine";  // cosine, linear, constant, wsd
  double peak = 1e-3;
  Index warmup = 100;                  // steps
  double min_ratio = 0.1;              // of the peak, at the end
  Index decay = 0;                     // of wsd: its last steps; 0: a fifth of all
  std::string decay_shape = "1-sqrt";  // of wsd: linear, 1-sqrt, cosine
};

// Of the step about to run, counted from 0, of `steps`.
double learning_rate(const Schedule& schedule, Index step, Index steps);

}  // namespace jericho
