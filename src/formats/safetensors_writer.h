// Writes one safetensors file (safetensors.h has the layout): declare the tensors, begin(), append() their bytes in
// that order. Memory: the header only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/tensor_info.h"
#include "tensor/dtype.h"

namespace jericho {

class SafetensorsWriter {
 public:
  void set_metadata(std::string key, std::string value) { metadata_[std::move(key)] = std::move(value); }
  // Error when safetensors has no such type. Data lie in the order of declaration; wide types first keeps all aligned.
  void add_tensor(std::string name, DType dtype, std::vector<Index> shape);

  void begin(std::ostream& out);
  void append(std::span<const std::byte> bytes);  // Error(kIo) when the stream fails
  [[nodiscard]] bool complete() const { return out_ != nullptr && written_ == data_size_.count; }

 private:
  std::map<std::string, std::string> metadata_;
  std::vector<TensorInfo> tensors_;
  Bytes data_size_{};
  std::ostream* out_ = nullptr;
  std::int64_t written_ = 0;
};

}  // namespace jericho
