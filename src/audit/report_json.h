// An audit for scripts: everything of it, units in the names of the keys.
#pragma once

#include <nlohmann/json.hpp>

#include "audit/report.h"

namespace jericho {

nlohmann::json to_json(const AuditReport& report);
nlohmann::json to_json(const Plan& plan);
nlohmann::json to_json(const Device& device);
nlohmann::json to_json(const Bound& bound);

}  // namespace jericho
