// An audit as one page that needs nothing else: no scripts, no fonts, no network. Drawings are inline SVG, light or
// dark as the reader's system is. Start at report_html().
#pragma once

#include <string>

#include "audit/report.h"

namespace jericho {

std::string report_html(const AuditReport& report, const ModelView& model);

}  // namespace jericho
