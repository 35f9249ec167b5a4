// Everything stays in memory so far: see plan_traffic.h.
#include "audit/plan_traffic.h"

namespace jericho {

bool all_in_memory(const Plan&) { return true; }

double disk_bytes_per_step(const Plan&, double) { return 0; }

Bytes resident_weights(const Plan&, const WeightLayout& weights) { return weights.bytes(); }

Bytes whole_budget(const DoesNotFit& refusal) { return refusal.smallest_budget; }

}  // namespace jericho
