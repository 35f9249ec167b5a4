// An audit for people: short sections, the verdict first.
#pragma once

#include <string>

#include "audit/report.h"

namespace jericho {

std::string report_text(const AuditReport& report);

// The verdict, in one line without its end: by what was measured where something was, else by the bounds.
std::string verdict_line(const AuditReport& report);

std::string count_text(double count);  // "8.03 B", "135 M", "4096"

}  // namespace jericho
