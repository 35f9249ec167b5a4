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

// Calls f.template operator()<Format>() for a type of integer_block_type().
template <class F>
void visit_integer_format(DType dtype, F f) {
  switch (dtype) {
    case DType::kQ4_0: return f.template operator()<Q4_0>();
    case DType::kQ8_0: return f.template operator()<Q8_0>();
    case DType::kQZ4: return f.template operator()<QZ4>();
    case DType::kQZ4B: return f.template operator()<QZ4B>();
    case DType::kQZ4_128: return f.template operator()<QZ4_128>();
    case DType::kQZ4B_128: return f.template operator()<QZ4B_128>();
    case DType::kQC8: return f.template operator()<QC8>();
    default: return f.template operator()<QZ8>();
  }
}

// Every type's integers are code - middle: the block's zero point is then zero - middle. Puts the codes of the
// `part`-th 32 columns of a block, and its scale.
template <class Format>
void put_codes(const IntegerGrid& grid, std::span<std::uint8_t, 32> codes, float scale, int zero, Index part,
               std::uint8_t* block) {
  constexpr auto& kFields = Format::kScaleFields;
  constexpr int kCodesAt = kFields.back().offset + kFields.back().width();  // behind the scales
  const int middle = 1 << (grid.bits - 1);
  put_scale(kFields[0], scale, block);
  if constexpr (Format::kHasZero) block[kFields[1].offset] = byte_of(zero - middle);
  if constexpr (Format::kCodeBits == 4) {  // whose middle is 8: narrower codes move there
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(code - middle + 8);
    put_nibbles(codes, block + kCodesAt + 16 * part);
  } else {
    for (std::size_t j = 0; j < 32; ++j) {
      block[kCodesAt + 32 * part + static_cast<Index>(j)] = byte_of(codes[j] - middle);
    }
  }
}

}  // namespace

DType integer_block_type(const IntegerGrid& grid) {
  JERICHO_CHECK(grid.bits >= 2 && grid.bits <= 8, "{} bits", grid.bits);
  const bool half = grid.scale == DType::kF16;
  const bool whole_row = grid.group == grid.cols;
  constexpr Index kLongest = Index{1} << 19;  // whose dots fit 32 bits (docs/numerics.md 3)
  if (grid.whole_rows && grid.symmetric && whole_row && grid.cols <= kLongest &&
      grid.cols % info(DType::kQC8).block_elements == 0) {
    return DType::kQC8;
  }
  if (grid.bits > 4 || grid.scale == DType::kF32) {
    return grid.symmetric && half ? DType::kQ8_0 : DType::kQZ8;
  }
  constexpr Index kBlock = info(DType::kQZ4_128).block_elements;
  if (grid.group % kBlock == 0 && grid.cols % kBlock == 0 && !whole_row) {
    return half ? DType::kQZ4_128 : DType::kQZ4B_128;
  }
  if (grid.symmetric && half) return DType::kQ4_0;
  return half ? DType::kQZ4 : DType::kQZ4B;
}

IntegerRows::IntegerRows(const IntegerGrid& grid, std::vector<std::int32_t> input_order)
    : grid_(grid), dtype_(integer_block_type(grid)), input_order_(std::move(input_order)) {}

void IntegerRows::codes_at(Index, std::span<const std::int32_t, 32>, std::span<std::uint8_t, 32>) const {
  JERICHO_CHECK(input_order_.empty(), "an order of {} inputs for a method that has none", input_order_.size());
}

void IntegerRows::decode(Index first, Index count, std::byte* rows) const {
  const Index parts = info(dtype_).block_elements / kGroup;  // of a block
  const Index row_bytes = storage_bytes(dtype_, grid_.cols).count;
  std::array<std::uint8_t, 32> part_codes{};
  // Columns outside: methods that store columns first read the same lines for every row.
  for (Index p = 0; p < grid_.cols / kGroup; ++p) {
    for (Index r = 0; r < count; ++r) {
      const Index group = p * kGroup / grid_.group;
      if (input_order_.empty()) {
        codes(first + r, p, part_codes);
      } else {
        codes_at(first + r, std::span(input_order_).subspan(static_cast<std::size_t>(p * kGroup)).first<32>(),
                 part_codes);
      }
      auto* block = reinterpret_cast<std::uint8_t*>(rows) + r * row_bytes + p / parts * info(dtype_).block_bytes.count;
      visit_integer_format(dtype_, [&]<class Format>() {
        put_codes<Format>(grid_, part_codes, scale(first + r, group), zero(first + r, group), p % parts, block);
      });
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
