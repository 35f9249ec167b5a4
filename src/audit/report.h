// All that one command asked for, ready to be printed in any form.
#pragma once

#include <optional>
#include <vector>

#include "audit/audit.h"
#include "audit/comparison.h"
#include "audit/roadmap.h"
#include "audit/scenario.h"
#include "audit/verification.h"

namespace jericho {

struct AuditReport {
  Audit audit{};
  std::vector<Advice> advice{};
  std::vector<ComparedDevice> comparison{};
  std::vector<WorkloadFate> fates{};
  std::optional<Verification> verification{};
};

}  // namespace jericho
