// Reads the small text files in which Linux reports numbers: proc(5), and the control groups of cgroups(7).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace jericho {

// The whole file, or nothing when it cannot be opened.
std::optional<std::string> read_text(const std::filesystem::path& path);

// "MemTotal:   16 kB" -> 16 KiB for the name "MemTotal". The kernel's kB are 1024 bytes.
std::optional<Bytes> kib_field(std::string_view text, std::string_view name);

// "inactive_file 4096" -> 4096 for the name "inactive_file": the lines of memory.stat.
std::optional<std::int64_t> stat_field(std::string_view text, std::string_view name);

// The first line as a number; nothing for "max" or anything else. Numbers beyond 2^63 count as 2^63 - 1.
std::optional<std::int64_t> leading_number(std::string_view text);

std::vector<std::string_view> split(std::string_view text, char separator);

}  // namespace jericho
