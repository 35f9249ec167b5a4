// One tensor of a model file, as its header describes it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "tensor/dtype.h"

namespace jericho {

class Repacking;  // repacking.h

struct TensorInfo {
  std::string name{};
  DType dtype{};
  std::vector<Index> shape{};  // outermost first, as in PyTorch: a GGUF's ne reversed
  int file = 0;                // index into ModelFile::files()
  std::int64_t offset = 0;     // from the start of that file
  Bytes size{};                // as stored
  // Null: the bytes at `offset` are the tensor. Otherwise it is made of several stored ones, which `size` adds up.
  std::shared_ptr<const Repacking> repacking{};

  [[nodiscard]] Index elements() const {  // cannot overflow: readers refuse such a shape
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    return product;
  }
};

// The bytes of a tensor of this shape, rows packed. Throws Error(kInput) for a negative extent, a product that
// overflows or a row that is no multiple of the type's block.
Bytes tensor_bytes(DType dtype, std::span<const Index> shape);

// Throws Error(kInput) when two of the tensors have one name. Returns their indices sorted by name.
std::vector<std::int32_t> index_by_name(std::span<const TensorInfo> tensors);

}  // namespace jericho
