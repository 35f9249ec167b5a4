// Writing a whole file so that nobody ever sees half of it.
#pragma once

#include <filesystem>
#include <string_view>

namespace jericho::cli {

// Into a new file beside `path`, which then takes its name: whatever happens, `path` is the old file or the new one.
// Mode 0600. Error(kIo) names the path; also when it is there and no regular file.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace jericho::cli
