// An audit for people: short sections, the verdict first.
#pragma once

#include <string>

#include "audit/audit.h"

namespace jericho {

std::string report_text(const Audit& audit);

std::string count_text(double count);  // "8.03 B", "135 M", "4096"

}  // namespace jericho
