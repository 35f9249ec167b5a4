// The model that is linked into the program (models/README.md): a GGUF among the bytes of the executable, read from
// there like any other file, so that it is on disk once and in memory only as far as the plan says.
#pragma once

#include <filesystem>
#include <string_view>

#include "formats/gguf.h"

namespace jericho {

inline constexpr std::string_view kBuiltinModel = "builtin";  // its name where a path is expected; ./builtin is a file

// Where its bytes lie in the running executable. Error(kIo) when that cannot be read (no /proc) or has been stripped of
// them.
FilePart builtin_model_file();

}  // namespace jericho
