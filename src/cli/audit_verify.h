// The plan of an audit, run: 64 tokens decoded, a prompt read, and what was predicted beside what was measured. The
// speeds are predicted from a slice: some layers of the model's shape with random weights, run by themselves.
#pragma once

#include <stop_token>

#include "audit/audit.h"
#include "audit/verification.h"
#include "cli/audit_model.h"

namespace jericho::cli {

// Ends what `model` held: its view and planner are gone afterwards.
Verification verify(AuditModel& model, const Audit& audit, const std::stop_token& stop);

}  // namespace jericho::cli
