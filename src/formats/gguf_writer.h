// Writes GGUF version 3 (gguf.h has the layout). Declare everything, then begin() writes the header and append() the
// data:
//   GgufWriter writer;
//   writer.set("general.architecture", "llama");
//   writer.add_tensor("t", DType::kF32, {2, 3});
//   writer.begin(out);
//   writer.append(bytes_of_t);  // in the order of declaration, in pieces if that is handier
// Memory: the header only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/tensor_info.h"
#include "tensor/dtype.h"

namespace jericho {

// Unlike Metadata, which has one integer type for readers, a writer says how wide a number is stored: tools expect u32.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t,
                               float, bool, std::string, std::uint64_t, std::int64_t, double, std::vector<std::int8_t>,
                               std::vector<std::uint8_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                               std::vector<float>, std::vector<bool>, std::vector<std::string>>;

class GgufWriter {
 public:
  void set(std::string key, GgufValue value);   // written in the order of first mention; replaces
  void set_alignment(std::uint32_t alignment);  // a power of two; 32 and no key when it is never called
  // Error when the type cannot stand in a GGUF, the name is longer than 63 bytes or the shape does not fit the type.
  void add_tensor(std::string name, DType dtype, std::vector<Index> shape);

  [[nodiscard]] const std::vector<std::pair<std::string, GgufValue>>& key_values() const { return key_values_; }
  [[nodiscard]] Bytes file_size() const;  // of the file these declarations make

  void begin(std::ostream& out);
  // The next bytes of the tensors. Pads after each tensor, the last included. Error(kIo) when the stream fails.
  void append(std::span<const std::byte> bytes);
  // True when every declared byte has been written.
  [[nodiscard]] bool complete() const { return out_ != nullptr && next_ == tensors_.size(); }

 private:
  [[nodiscard]] std::string header() const;
  void write(const void* data, std::int64_t size);
  void pad();

  std::vector<std::pair<std::string, GgufValue>> key_values_;
  std::vector<TensorInfo> tensors_;  // offsets relative to the data
  std::int64_t alignment_ = 32;
  std::ostream* out_ = nullptr;
  std::size_t next_ = 0;      // tensor being written
  std::int64_t written_ = 0;  // bytes of it
};

}  // namespace jericho
