// One loop over blocks of 32 columns for all methods.
#include "formats/quantized/integer_rows.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

// The inverse of split_nibbles().
void put_nibbles(std::span<const std::uint8_t, 32> codes, std::uint8_t* bytes) {
  for (std::size_t j = 0; j < 16; ++j) bytes[j] = static_cast<std::uint8_t>(codes[j] | codes[j + 16] << 4);
}

bool is_all_zero(const Elements<std::int32_t>& index, Index inputs) {
  for (Index i = 0; i < inputs; ++i) {
    if (index[i] != 0) return false;
  }
  return true;
}

void check_groups_exist(const TensorInfo& tensor, const Elements<std::int32_t>& index, Index inputs, Index group) {
  const Index groups = ceil_div(inputs, group);
  for (Index i = 0; i < inputs; ++i) {
    if (index[i] >= 0 && index[i] < groups) continue;
    throw Error(ErrorKind::kInput, fmt::format("tensor {}: input {} is of group {}, there are {}",
                                               printable(tensor.name), i, index[i], groups));
  }
}

std::uint8_t byte_of(int value) { return static_cast<std::uint8_t>(value & 255); }

// Every type's integers are code - middle: the block's zero point is then zero - middle.
void put_block(DType dtype, const IntegerGrid& grid, std::span<std::uint8_t, 32> codes, float scale, int zero,
               std::uint8_t* block) {
  const int middle = 1 << (grid.bits - 1);
  const bool nibbles = dtype == DType::kQ4_0 || dtype == DType::kQZ4 || dtype == DType::kQZ4B;
  if (nibbles) {  // whose middle is 8: narrower codes move there
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(code - middle + 8);
  }
  switch (dtype) {
    case DType::kQ4_0:
      put_scale(Q4_0::kScaleFields[0], scale, block);
      put_nibbles(codes, block + 2);
      return;
    case DType::kQ8_0:
      put_scale(Q8_0::kScaleFields[0], scale, block);
      for (std::size_t j = 0; j < 32; ++j) block[2 + j] = byte_of(codes[j] - middle);
      return;
    case DType::kQZ4:
    case DType::kQZ4B:
      put_scale(dtype == DType::kQZ4 ? QZ4::kScaleFields[0] : QZ4B::kScaleFields[0], scale, block);
      block[2] = byte_of(zero - middle);
      put_nibbles(codes, block + 3);
      return;
    default:
      put_scale(QZ8::kScaleFields[0], scale, block);
      block[4] = byte_of(zero - middle);
      for (std::size_t j = 0; j < 32; ++j) block[5 + j] = byte_of(codes[j] - middle);
  }
}

}  // namespace

DType integer_block_type(const IntegerGrid& grid) {
  JERICHO_CHECK(grid.bits >= 2 && grid.bits <= 8, "{} bits", grid.bits);
  const bool half = grid.scale == DType::kF16;
  if (grid.symmetric && half) return grid.bits <= 4 ? DType::kQ4_0 : DType::kQ8_0;
  if (grid.bits > 4 || grid.scale == DType::kF32) return DType::kQZ8;
  return half ? DType::kQZ4 : DType::kQZ4B;
}

IntegerRows::IntegerRows(const IntegerGrid& grid, Index cols, Index group, std::vector<std::int32_t> input_order)
    : grid_(grid), dtype_(integer_block_type(grid)), cols_(cols), group_(group), input_order_(std::move(input_order)) {}

void IntegerRows::codes_at(Index, std::span<const std::int32_t, 32>, std::span<std::uint8_t, 32>) const {
  JERICHO_CHECK(input_order_.empty(), "an order of {} inputs for a method that has none", input_order_.size());
}

void IntegerRows::decode(Index first, Index count, std::byte* rows) const {
  const Index block_bytes = info(dtype_).block_bytes.count;
  const Index blocks = cols_ / kGroup;
  std::array<std::uint8_t, 32> block_codes{};
  for (Index b = 0; b < blocks; ++b) {  // outside: methods that store columns first read the same lines for every row
    for (Index r = 0; r < count; ++r) {
      const Index group = b * kGroup / group_;
      if (input_order_.empty()) {
        codes(first + r, b, block_codes);
      } else {
        codes_at(first + r, std::span(input_order_).subspan(static_cast<std::size_t>(b * kGroup)).first<32>(),
                 block_codes);
      }
      put_block(dtype_, grid_, block_codes, scale(first + r, group), zero(first + r, group),
                reinterpret_cast<std::uint8_t*>(rows) + (r * blocks + b) * block_bytes);
    }
  }
}

void check_group_index(const TensorInfo& tensor, const Elements<std::int32_t>& index, Index inputs, Index group) {
  check_groups_exist(tensor, index, inputs, group);
  if (is_all_zero(index, inputs)) return;
  for (Index i = 0; i < inputs; ++i) {
    if (index[i] == i / group) continue;
    throw Error(ErrorKind::kInput,
                fmt::format("tensor {}: input {} is of group {}, expected {}; if columns are in the order of their "
                            "activations, set \"desc_act\" to true in config.json",
                            printable(tensor.name), i, index[i], i / group));
  }
}

std::vector<std::int32_t> inputs_by_group(const TensorInfo& tensor, const Elements<std::int32_t>& index, Index inputs,
                                          Index group) {
  check_groups_exist(tensor, index, inputs, group);
  const bool consecutive = is_all_zero(index, inputs);
  std::vector<std::int32_t> order(static_cast<std::size_t>(inputs));
  std::vector<Index> filled(static_cast<std::size_t>(ceil_div(inputs, group)));
  for (Index i = 0; i < inputs; ++i) {
    const Index g = consecutive ? i / group : index[i];
    const Index size = std::min(group, inputs - g * group);
    Index& own = filled[static_cast<std::size_t>(g)];
    if (own == size) {
      throw Error(ErrorKind::kInput,
                  fmt::format("tensor {}: more than {} of the {} inputs are of group {}, expected groups of {}; is the "
                              "file damaged?",
                              printable(tensor.name), size, inputs, g, group));
    }
    order[static_cast<std::size_t>(g * group + own++)] = static_cast<std::int32_t>(i);
  }
  return order;  // all groups are full: their sizes add up to the inputs
}

Index checked_group(Index group_size, Index cols) {
  const Index group = group_size == -1 ? cols : std::min(group_size, cols);
  if (group > 0 && cols % kGroup == 0 && group % kGroup == 0) return group;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("rows of {} in groups of {} are not supported yet, expected multiples of {}; quantize the "
                          "original checkpoint with another group size, or use a GGUF",
                          cols, group_size, kGroup));
}

}  // namespace jericho
