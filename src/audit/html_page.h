// The frame of a page that stands alone: one style sheet for reports and curves, in both colour schemes, nothing
// fetched.
#pragma once

#include <string>

namespace jericho {

// `body` is HTML, `title` text.
std::string html_page(const std::string& title, const std::string& body);

}  // namespace jericho
