// Rounding at random value by value. Read this first; never optimise it.
#include "kernels/stochastic_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace jericho {
namespace {

std::uint32_t word_of(const RoundingStream& stream, Index cols, Index c) {
  const auto block = static_cast<std::uint64_t>(stream.row * ceil_div(cols, 4) + c / 4);
  return philox4x32(
      {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), kRoundingPurpose, stream.update},
      stream.key)[static_cast<std::size_t>(c % 4)];
}

std::uint16_t brain_half(float x, std::uint32_t word) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  if (std::isinf(x)) return static_cast<std::uint16_t>(bits >> 16);
  return static_cast<std::uint16_t>((bits + (word & 0xffffu)) >> 16);
}

}  // namespace

void ref::round_row(DType dtype, const float* x, Index cols, const RoundingStream& stream, std::byte* row) {
  if (dtype == DType::kBF16) {
    for (Index c = 0; c < cols; ++c) {
      const std::uint16_t half = brain_half(x[c], word_of(stream, cols, c));
      std::memcpy(row + 2 * c, &half, 2);
    }
    return;
  }
  constexpr Index kValues = info(DType::kQC8).block_elements, kBytes = info(DType::kQC8).block_bytes.count;
  for (Index first = 0; first < cols; first += kValues, row += kBytes) {
    const Index count = std::min(kValues, cols - first);
    float largest = 0;
    for (Index c = 0; c < count; ++c) largest = std::max(largest, std::abs(x[first + c]));
    const bool zeros = !(largest >= kSmallestGroup);
    const float scale = zeros ? 0 : largest / 127.0f, inverse = zeros ? 0 : 127.0f / largest;
    std::memcpy(row, &scale, 4);
    for (Index c = 0; c < kValues; ++c) {
      int code = 0;
      if (c < count && !zeros) {
        const float u = static_cast<float>(word_of(stream, cols, first + c) >> 8) * 0x1p-24f;
        code = static_cast<int>(std::floor(std::clamp(x[first + c] * inverse + u, -127.0f, 127.0f)));
      }
      row[4 + c] = static_cast<std::byte>(code & 255);
    }
  }
}

}  // namespace jericho
