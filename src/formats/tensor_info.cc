// Sizes of tensors and the order of their names.
#include "formats/tensor_info.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {

Bytes tensor_bytes(DType dtype, std::span<const Index> shape) {
  const auto refuse = [shape](const std::string& why) {
    throw Error(ErrorKind::kInput, fmt::format("shape [{}] {}", fmt::join(shape, ", "), why));
  };
  Index elements = 1;
  for (const Index extent : shape) {
    if (extent < 0) refuse("has a negative extent");
    if (__builtin_mul_overflow(elements, extent, &elements)) refuse("has more than 2^63 elements");
  }
  const DTypeInfo& type = info(dtype);
  const Index row = shape.empty() ? 1 : shape.back();
  if (row % type.block_elements != 0) {
    refuse(fmt::format("has rows of {}, expected a multiple of the {} elements of a {} block", row, type.block_elements,
                       type.name));
  }
  if (elements / type.block_elements > std::numeric_limits<std::int64_t>::max() / type.block_bytes.count) {
    refuse("has more than 2^63 bytes");
  }
  return storage_bytes(dtype, elements);
}

std::vector<std::int32_t> index_by_name(std::span<const TensorInfo> tensors) {
  std::vector<std::int32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [tensors](std::int32_t a, std::int32_t b) { return tensors[a].name < tensors[b].name; });
  const auto twin = std::adjacent_find(order.begin(), order.end(), [tensors](std::int32_t a, std::int32_t b) {
    return tensors[a].name == tensors[b].name;
  });
  if (twin != order.end()) {
    throw Error(ErrorKind::kInput, fmt::format("two tensors are called {}", printable(tensors[*twin].name)));
  }
  return order;
}

}  // namespace jericho
