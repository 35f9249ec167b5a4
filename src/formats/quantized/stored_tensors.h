// The tensors of a quantized checkpoint while a method turns groups of them into weights: looked up by name, held
// against the type and shape they must have, replaced by what they present. Start at StoredTensors::present().
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "formats/repacking.h"
#include "formats/tensor_info.h"

namespace jericho {

// The bytes of a small tensor, for what the header of a weight depends on.
using ReadTensor = std::function<std::vector<std::byte>(const TensorInfo&)>;

class StoredTensors {
 public:
  static constexpr Bytes kMostRead = 1_MiB;  // read() refuses more: weights are read by whoever has the memory for them

  StoredTensors(std::vector<TensorInfo> tensors, ReadTensor read);

  [[nodiscard]] const TensorInfo* find(std::string_view name) const;  // nullptr when absent
  // Of a type among `types`; Error(kInput) when it is missing or has another.
  [[nodiscard]] const TensorInfo& require(std::string_view name, std::initializer_list<DType> types) const;
  [[nodiscard]] std::vector<std::byte> read(const TensorInfo& tensor) const;
  // "P" for every tensor "P" + suffix, in file order.
  [[nodiscard]] std::vector<std::string> modules_with(std::string_view suffix) const;

  // Lists a weight in place of the parts of `repacking`, of which the first stands for its place in the file.
  // Error(kInput) when `shape` is no whole number of blocks of `dtype` or a tensor of that name stays.
  void present(std::string name, DType dtype, std::vector<Index> shape, std::shared_ptr<const Repacking> repacking);

  void drop(const TensorInfo& tensor);  // one that was read() and is of no further use

  [[nodiscard]] std::vector<TensorInfo> take() &&;  // what there is now, in file order

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<std::int32_t> by_name_;
  std::vector<bool> replaced_;
  std::vector<TensorInfo> presented_;  // at the index of their first part
  ReadTensor read_;
  [[nodiscard]] std::int32_t index_of(std::string_view name) const;  // -1 when absent
};

// Error(kInput) unless the tensor has this shape.
void expect_shape(const TensorInfo& tensor, const std::vector<Index>& shape);
// Error(kInput) unless it has two dimensions, 1 to 2^31 each, so that products of a few of them cannot overflow.
void expect_matrix(const TensorInfo& tensor);

}  // namespace jericho
