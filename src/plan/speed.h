// What a token costs the machine at least, so that tokens per second can be held against a roof. Attention's own
// operations, activations and small vectors are not counted: a fraction says what part of the work that cannot be
// avoided was reached. Start at decode_cost() and prefill_cost().
#pragma once

#include <optional>

#include "kernels/activations.h"
#include "kernels/peak_loops.h"
#include "models/weights.h"
#include "plan/plan.h"
#include "plan/roofs.h"

namespace jericho {

struct TokenCost {
  double bytes = 0;       // read from memory: weights, shared by what is computed together, KV, states
  double disk_bytes = 0;  // read from the disk: weights that stream, shared likewise
  double operations = 0;  // two for each weight of a matrix that the token meets
  PeakKind kind{};        // which units most of the operations are for
};

// Read from the disk, of weights that stream, by a pass over `tokens` tokens.
double disk_bytes_of_pass(const WeightResidency& weights, double tokens);

// Read from the scratch file by a step in which each of the plan's sequences reads one token, `depth` positions into
// its context: the blocks that its layers look at of what has no room in RAM. At most: a selection reads fewer.
double cold_bytes_of_step(const Plan& plan, const ModelConfig& config, Index depth);

// A token of each of `batch` sequences that step together with `depth` positions in their caches.
TokenCost decode_cost(const WeightLayout& weights, const Plan& plan, double batch, double depth);

// A token of a text of `tokens`, read in pieces of `chunk` on top of `depth`. `head_share` of them, 0 to 1, have their
// logits computed: a single one at the end of a prompt counts as none.
TokenCost prefill_cost(const WeightLayout& weights, const Plan& plan, Index tokens, Index chunk, double depth,
                       double head_share);

// Tokens per second of this cost against reading, multiplying and the disk, by whichever the work is bounded.
std::optional<Held> hold(double tokens_per_second, const TokenCost& cost, const std::optional<Roof>& read,
                         const std::optional<Roof>& multiply, const std::optional<Roof>& disk = {});

}  // namespace jericho
