// For tests only: a directory that vanishes with the test, and small things to put into it.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors_writer.h"

namespace jericho {

class TestDirectory {
 public:
  TestDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "jericho_formats_XXXXXX").string();
    JERICHO_CHECK(::mkdtemp(name.data()) != nullptr, "{}", name);
    path_ = name;
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path put(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct TestTensor {
  std::string name{};
  DType dtype{};
  std::vector<Index> shape{};
};

// A file of these tensors, all bytes 7.
template <class Writer>
std::string file_of(Writer writer, const std::vector<TestTensor>& tensors) {
  std::ostringstream out;
  for (const TestTensor& tensor : tensors) writer.add_tensor(tensor.name, tensor.dtype, tensor.shape);
  writer.begin(out);
  for (const TestTensor& tensor : tensors) {
    writer.append(bytes_of(std::string(tensor_bytes(tensor.dtype, tensor.shape).size(), '\7')));
  }
  JERICHO_CHECK(writer.complete(), "{} tensors", tensors.size());
  return out.str();
}

// The message of the Error that `body` throws, with its kind in front; empty when it throws none.
template <class Body>
std::string error_of(Body body) {
  try {
    static_cast<void>(body());
  } catch (const Error& error) {
    const std::string kind = error.kind() == ErrorKind::kInput         ? "input: "
                             : error.kind() == ErrorKind::kIo          ? "io: "
                             : error.kind() == ErrorKind::kUnsupported ? "unsupported: "
                                                                       : "other: ";
    return kind + error.what();
  }
  return "";
}

}  // namespace jericho
