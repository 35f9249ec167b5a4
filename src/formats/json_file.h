// JSON from files that are not trusted: bounded in size and depth, so that hostile nesting cannot overflow the stack of
// whoever walks the result. Errors name the file and the byte.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"

namespace jericho {

inline constexpr Bytes kMaxConfigJson = 4_MiB;  // a config.json has a few KiB
inline constexpr int kMaxJsonDepth = 64;

// `what` names the text in errors. Of twin keys the last counts, as in Python. Python's json writes the bare word
// Infinity, which no JSON has; it is read as 1.79e308 (Mamba-2 configs have one in time_step_limit).
nlohmann::json parse_json(std::string_view text, std::string_view what, Bytes limit = kMaxConfigJson);

// Checks without building anything: for texts that are handed to another parser. Error(kInput) beyond kMaxJsonDepth.
void check_json_depth(std::string_view text, std::string_view what);

// An Error's message about a failure of nlohmann's parser, without its internal numbering.
std::string json_complaint(std::string_view message);

nlohmann::json read_json_file(const std::filesystem::path& path, Bytes limit = kMaxConfigJson);

}  // namespace jericho
