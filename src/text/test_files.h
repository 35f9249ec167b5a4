// For tests only: the committed fixtures. testdata/make_fixtures.py makes them.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace jericho {

inline std::filesystem::path text_fixture(const std::string& relative) {
  return std::filesystem::path(__FILE__).parent_path() / relative;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace jericho
