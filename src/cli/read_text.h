// Texts from files and standard input.
#pragma once

#include <stop_token>
#include <string>

namespace jericho::cli {

// Error(kInput) naming the path when it cannot be read.
std::string read_text_file(const std::string& path);

// Until its end; Error(kInterrupted) on a stop request.
std::string read_standard_input(const std::stop_token& stop);

bool standard_input_is_terminal();

}  // namespace jericho::cli
