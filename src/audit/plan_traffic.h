// What a plan moves between memory and disk while it runs, whatever choices the planner made: the audit asks here and
// nowhere else.
#pragma once

#include "base/bytes.h"
#include "plan/plan.h"

namespace jericho {

// Does everything stay in memory from the first token to the last?
bool all_in_memory(const Plan& plan);

// Read from disk by a step that gives each of `batch` sequences one token.
double disk_bytes_per_step(const Plan& plan, double batch);

// That weights occupy in memory, of all of them.
Bytes resident_weights(const Plan& plan, const WeightLayout& weights);

// The budget from which on everything stays in memory.
Bytes whole_budget(const DoesNotFit& refusal);

}  // namespace jericho
