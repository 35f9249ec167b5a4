// For tests only: finds the optional test data. JERICHO_DATA names its folder; ../shared/data beside the checkout is
// the default.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace jericho {

inline std::filesystem::path test_data_root() {
  const char* root = std::getenv("JERICHO_DATA");
  return root != nullptr ? root : "../shared/data";
}

inline std::filesystem::path test_data(const std::string& relative) { return test_data_root() / relative; }

// A committed file or folder of src/. Tests run from the root of the sources, as ctest sees to.
inline std::filesystem::path test_source(const std::string& relative) { return "src/" + relative; }

}  // namespace jericho

// At the top of a test that reads optional data: skips it, saying which file is missing.
#define JERICHO_NEEDS_DATA(relative)                                                                               \
  do {                                                                                                             \
    if (!std::filesystem::exists(::jericho::test_data(relative)))                                                  \
      GTEST_SKIP() << ::jericho::test_data(relative) << " is absent: set JERICHO_DATA to the folder of test data"; \
  } while (false)
