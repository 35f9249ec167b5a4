// For tests only: a temporary folder that goes with its object, and files with known contents in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace jericho {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "jericho_test_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  // A file of `size` bytes in which byte i is pattern(i).
  [[nodiscard]] std::filesystem::path make_file(const std::string& name, std::int64_t size) const {
    std::vector<char> content(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) content[static_cast<std::size_t>(i)] = static_cast<char>(pattern(i));
    std::ofstream(path_ / name, std::ios::binary).write(content.data(), size);
    return path_ / name;
  }
  static std::byte pattern(std::int64_t i) {  // no period that a misplaced read could hide in
    return static_cast<std::byte>((static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15u) >> 56);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace jericho
