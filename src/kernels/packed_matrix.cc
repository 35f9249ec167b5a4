// Packing and its inverse, generic over the block formats: see packed_matrix.h for the layout.
#include "kernels/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"
#include "tensor/row_formats.h"

namespace jericho {
namespace {

const std::uint8_t* bytes_of(const std::byte* p) { return reinterpret_cast<const std::uint8_t*>(p); }
std::uint8_t* bytes_of(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }

template <class Format>
float value_of(const GroupScale& group, Index column_in_group, std::uint8_t code) {
  float scale = group.scale;
  if constexpr (Format::kHasSub) scale *= static_cast<float>(group.sub[column_in_group < 16 ? 0 : 1]);
  const float value = scale * static_cast<float>(integer_of<Format>(code) - group.zero);
  if constexpr (Format::kHasMinSub) {
    return value + group.minimum * static_cast<float>(group.minimum_sub[column_in_group < 16 ? 0 : 1]);
  }
  if constexpr (Format::kHasMin) return value + group.minimum;
  return value;
}

template <class Format>
void pack_block_strip(Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip) {
  using Layout = StripLayout<Format>;
  std::memset(strip, 0, strip_bytes(Format::kDType, cols).size());
  std::array<std::uint8_t, Layout::kBlockElements> codes{};
  for (Index row = 0; row < rows; ++row) {
    const std::uint8_t* block = bytes_of(file_rows) + row * row_bytes.count;
    for (Index b = 0; b < cols / Layout::kBlockElements; ++b, block += Layout::kBlockBytes) {
      Format::codes(block, codes.data());
      for (Index g = 0; g < Layout::kBlockGroups; ++g) {
        std::uint8_t* group = bytes_of(strip) + Layout::codes_offset(b * Layout::kBlockGroups + g);
        for (Index column = 0; column < kGroup; ++column) {
          Layout::put_code(group, row, column, codes[static_cast<std::size_t>(g * kGroup + column)]);
        }
      }
      Layout::put_fields(bytes_of(strip) + Layout::scales_offset(cols, b), row, block);
    }
  }
}

template <class Format>
void dequantize_block_row(const PackedMatrix& matrix, Index row, float* out) {
  using Layout = StripLayout<Format>;
  const std::uint8_t* strip = bytes_of(matrix.data) + row / kStripRows * strip_bytes(matrix.dtype, matrix.cols).count;
  const Index lane = row % kStripRows;
  for (Index g = 0; g < matrix.cols / kGroup; ++g) {
    const GroupScale group = Layout::group_scale(strip, matrix.cols, lane, g);
    for (Index column = 0; column < kGroup; ++column) {
      const std::uint8_t code = Layout::code(strip + Layout::codes_offset(g), lane, column);
      const Index at = g * kGroup + column;
      out[matrix.input_order.empty() ? at : matrix.input_order[static_cast<std::size_t>(at)]] =
          value_of<Format>(group, column, code);
    }
  }
}

template <class Format>
void dequantize_block_file_row(Index cols, const std::uint8_t* block, float* out) {
  using Layout = StripLayout<Format>;
  std::array<std::uint8_t, Layout::kBlockElements> codes{};
  std::array<std::uint8_t, Layout::kFieldBytes> fields{};
  for (Index b = 0; b < cols / Layout::kBlockElements; ++b, block += Layout::kBlockBytes) {
    Format::codes(block, codes.data());
    Layout::gather_fields(block, fields.data());
    for (Index j = 0; j < Layout::kBlockElements; ++j) {
      const GroupScale group = Format::scale(fields.data(), static_cast<int>(j / kGroup));
      out[b * Layout::kBlockElements + j] = value_of<Format>(group, j % kGroup, codes[static_cast<std::size_t>(j)]);
    }
  }
}

void dequantize_plain_row(DType dtype, Index cols, const std::byte* row, float* out) {
  const std::uint8_t* bytes = bytes_of(row);
  const bool done = visit_row_format(
      dtype,
      [&]<class Format>() {
        for (Index j = 0; j < cols; ++j)
          out[j] = Format::value(bytes + j / kRowBlock * Format::kBlockBytes, j % kRowBlock);
        return true;
      },
      [] { return false; });
  if (done) return;
  switch (dtype) {
    case DType::kF32: std::memcpy(out, bytes, static_cast<std::size_t>(cols) * 4); return;
    case DType::kF16:
      for (Index j = 0; j < cols; ++j) out[j] = read_half(bytes + 2 * j);
      return;
    case DType::kBF16:
      for (Index j = 0; j < cols; ++j) {
        BF16 value;
        std::memcpy(&value.bits, bytes + 2 * j, 2);
        out[j] = to_float(value);
      }
      return;
    default: JERICHO_CHECK(false, "{} is not packable", name(dtype));
  }
}

void pack_plain_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows,
                      std::byte* strip) {
  const Index padded = is_block(dtype) ? cols : round_up(cols, 32);
  const std::size_t stride = static_cast<std::size_t>(storage_bytes(dtype, padded).count);
  const std::size_t used = static_cast<std::size_t>(storage_bytes(dtype, cols).count);
  for (Index row = 0; row < kStripRows; ++row) {
    std::byte* to = strip + row * static_cast<Index>(stride);
    if (row < rows) std::memcpy(to, file_rows + row * row_bytes.count, used);
    const std::size_t filled = row < rows ? used : 0;
    std::memset(to + filled, 0, stride - filled);
  }
}

}  // namespace

Index default_unit(DType dtype) { return std::max<Index>(kGroup, info(dtype).block_elements); }

Bytes strip_bytes(DType dtype, Index cols) {
  const Bytes row = visit_block_format(
      dtype,
      [&]<class Format>() {
        using Layout = StripLayout<Format>;
        return Bytes{cols / Layout::kBlockElements * Layout::kPackedBlockBytes};
      },
      [&] { return storage_bytes(dtype, is_block(dtype) ? cols : round_up(cols, 32)); });
  return round_up(row * kStripRows, 64_B);
}

Bytes packed_bytes(DType dtype, Index rows, Index cols) {
  return strip_bytes(dtype, cols) * ceil_div(rows, kStripRows);
}

void pack_strip(DType dtype, Index cols, const std::byte* file_rows, Bytes row_bytes, Index rows, std::byte* strip) {
  visit_block_format(
      dtype, [&]<class Format>() { pack_block_strip<Format>(cols, file_rows, row_bytes, rows, strip); },
      [&] { pack_plain_strip(dtype, cols, file_rows, row_bytes, rows, strip); });
}

void dequantize_row(const PackedMatrix& matrix, Index row, float* out) {
  visit_block_format(
      matrix.dtype, [&]<class Format>() { dequantize_block_row<Format>(matrix, row, out); },
      [&] {
        const Bytes stride = storage_bytes(matrix.dtype, matrix.padded_cols());
        dequantize_plain_row(matrix.dtype, matrix.cols, matrix.data + row * stride.count, out);
      });
}

void dequantize_file_row(DType dtype, Index cols, const std::byte* file_row, float* out) {
  visit_block_format(
      dtype, [&]<class Format>() { dequantize_block_file_row<Format>(cols, bytes_of(file_row), out); },
      [&] { dequantize_plain_row(dtype, cols, file_row, out); });
}

}  // namespace jericho
