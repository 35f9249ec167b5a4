// For tests only: the committed fixtures. testdata/make_fixtures.py makes them.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/test_data.h"

namespace jericho {

inline std::filesystem::path text_fixture(const std::string& relative) { return test_source("text/" + relative); }

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace jericho
