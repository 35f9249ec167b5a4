// Codes and scales of NF4: see nf4.h.
#include "train/nf4.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/row_formats.h"
#include "train/optimizers/dynamic_map.h"

namespace jericho {
namespace {

constexpr Index kCodeBytes = kNf4Block / 2;

const std::array<float, 15>& midpoints() {
  static const std::array<float, 15> values = [] {
    std::array<float, 15> m{};
    for (std::size_t i = 0; i < m.size(); ++i) m[i] = (kNF4Values[i] + kNF4Values[i + 1]) / 2;
    return m;
  }();
  return values;
}

Bytes code_bytes(Index rows, Index cols) { return Bytes{rows * cols / 2}; }

}  // namespace

int nf4_code(float x) {  // how many midpoints lie below x
  const std::array<float, 15>& m = midpoints();
  std::size_t code = 0;
  for (const std::size_t step : {8u, 4u, 2u, 1u}) {
    if (m[code + step - 1] < x) code += step;
  }
  return static_cast<int>(code);
}

Bytes Nf4Weight::bytes(Index rows, Index cols) {
  const Index blocks = scales(rows, cols);
  return round_up(code_bytes(rows, cols), 64_B) + round_up(Bytes{blocks}, 64_B) +
         round_up(Bytes{4 * (ceil_div(blocks, kStateBlock) + 1)}, 64_B);
}

Nf4Weight::Nf4Weight(std::span<std::byte> memory, Index rows, Index cols, CpuPath path)
    : kernels_(file_row_kernels_for(path)), rows_(rows), cols_(cols) {
  JERICHO_CHECK(fits(cols) && memory.size() >= bytes(rows, cols).size(), "{} bytes for NF4 of {} x {}", memory.size(),
                rows, cols);
  const auto blocks = static_cast<std::size_t>(scales(rows, cols));
  codes_ = memory.first(code_bytes(rows, cols).size());
  std::byte* at = memory.data() + round_up(code_bytes(rows, cols), 64_B).count;
  scale_codes_ = {reinterpret_cast<std::uint8_t*>(at), blocks};
  at += round_up(Bytes{static_cast<Index>(blocks)}, 64_B).count;
  const auto groups = static_cast<std::size_t>(ceil_div(static_cast<Index>(blocks), kStateBlock));
  largest_ = {reinterpret_cast<float*>(at), groups};
  mean_ = largest_.data() + groups;
}

void Nf4Weight::quantize_row(Index row, const float* values, float* scales) {
  for (Index block = 0; block < cols_ / kNf4Block; ++block) {
    const float* x = values + block * kNf4Block;
    float largest = 0;
    for (Index j = 0; j < kNf4Block; ++j) largest = std::max(largest, std::abs(x[j]));
    scales[block] = largest;
    std::byte* codes = codes_.data() + (row * (cols_ / kNf4Block) + block) * kCodeBytes;
    std::array<std::uint8_t, kCodeBytes> packed{};
    for (Index j = 0; j < kNf4Block; ++j) {
      const int code = largest > 0 ? nf4_code(x[j] / largest) : nf4_code(0);
      packed[static_cast<std::size_t>(NF4::byte_of(j) - 4)] |= static_cast<std::uint8_t>(code << NF4::shift_of(j));
    }
    std::memcpy(codes, packed.data(), packed.size());
  }
}

void Nf4Weight::quantize_scales(std::span<const float> scales) {
  double sum = 0;
  for (const float scale : scales) sum += static_cast<double>(scale);
  *mean_ = static_cast<float>(sum / static_cast<double>(scales.size()));
  std::array<float, kStateBlock> centred{};
  for (std::size_t begin = 0; begin < scales.size(); begin += kStateBlock) {
    const std::size_t count = std::min(static_cast<std::size_t>(kStateBlock), scales.size() - begin);
    for (std::size_t i = 0; i < count; ++i) centred[i] = scales[begin + i] - *mean_;
    largest_[begin / kStateBlock] =
        quantize_block(DynamicMap::kSigned, std::span(centred).first(count), false, scale_codes_.data() + begin);
  }
}

float Nf4Weight::scale(Index block) const {
  const float unit = dynamic_values(DynamicMap::kSigned)[scale_code(block)];
  return unit * largest_[static_cast<std::size_t>(block / kStateBlock)] + *mean_;
}

StoredRows Nf4Weight::rows() const {
  StoredRows view(codes_.data(), DType::kNF4, rows_, cols_);
  view.decoder = this;
  return view;
}

void Nf4Weight::decode(Index row, Index first, Index count, float* out) const {
  // As blocks of NF4, with their scales: for the kernels that know those.
  std::array<std::byte, kTileCols / kNf4Block * NF4::kBlockBytes> blocks;
  while (count > 0) {
    const Index columns = std::min(count, kTileCols), whole = round_up(columns, kNf4Block);
    for (Index b = 0; b < whole / kNf4Block; ++b) {
      const Index block = row * (cols_ / kNf4Block) + first / kNf4Block + b;
      const float d = scale(block);
      std::byte* to = blocks.data() + b * NF4::kBlockBytes;
      std::memcpy(to, &d, 4);
      std::memcpy(to + 4, codes_.data() + block * kCodeBytes, kCodeBytes);
    }
    if (columns == whole) {
      kernels_.dequantize_file_row(DType::kNF4, whole, blocks.data(), out);
    } else {
      std::array<float, kTileCols> values;
      kernels_.dequantize_file_row(DType::kNF4, whole, blocks.data(), values.data());
      std::copy_n(values.data(), columns, out);
    }
    first += columns;
    count -= columns;
    out += columns;
  }
}

int Nf4Weight::code(Index row, Index column) const {
  const Index block = row * (cols_ / kNf4Block) + column / kNf4Block, j = column % kNf4Block;
  const auto byte = static_cast<unsigned>(codes_[static_cast<std::size_t>(block * kCodeBytes + NF4::byte_of(j) - 4)]);
  return static_cast<int>(byte >> NF4::shift_of(j) & 15u);
}

}  // namespace jericho
